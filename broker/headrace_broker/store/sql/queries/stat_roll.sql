-- Adds up the rows of one span into one longer period: minutes into an hour, hours into a day. Safe to repeat: the sum is replaced.
-- $1 span of the parts int, $2 span of the sum int, $3 first minute of the sum int. Index: primary key of stat. Locks: the rows of the sum.
with part as (
    select * from headrace.stat where span = $1 and at >= $3 and at < $3 + $2
), parts as (
    select type_id, agent_id, sum(wait_s) as wait_s, sum(run_s) as run_s,
        (sum(slots) * $1 / $2)::int as slots, max(waiting) as waiting
    from part group by type_id, agent_id
), numbers as (
    select type_id, agent_id, jsonb_object_agg(key, total) as numbers from (
        select type_id, agent_id, n.key, sum(n.value::bigint) as total from part, jsonb_each_text(numbers) n group by type_id, agent_id, n.key
    ) s group by type_id, agent_id
), waits as (
    select type_id, agent_id, jsonb_object_agg(key, total) as wait from (
        select type_id, agent_id, n.key, sum(n.value::bigint) as total from part, jsonb_each_text(wait) n group by type_id, agent_id, n.key
    ) s group by type_id, agent_id
), runs as (
    select type_id, agent_id, jsonb_object_agg(key, total) as run from (
        select type_id, agent_id, n.key, sum(n.value::bigint) as total from part, jsonb_each_text(run) n group by type_id, agent_id, n.key
    ) s group by type_id, agent_id
)
insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
select $2, $3, p.type_id, p.agent_id, 0, coalesce(numbers, '{}'), coalesce(wait, '{}'), coalesce(run, '{}'), wait_s, run_s, slots, waiting
from parts p left join numbers using (type_id, agent_id) left join waits using (type_id, agent_id) left join runs using (type_id, agent_id)
on conflict (span, at, type_id, agent_id, life_id) do update set
    numbers = excluded.numbers, wait = excluded.wait, run = excluded.run, wait_s = excluded.wait_s, run_s = excluded.run_s, slots = excluded.slots, waiting = excluded.waiting
