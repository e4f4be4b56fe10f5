-- Adds up the rows of one span into one longer period: minutes into an hour, hours into a day. Safe to repeat: the sum is replaced.
-- $1 span of the parts int, $2 span of the sum int, $3 first minute of the sum int. Index: primary key of stat. Locks: the rows of the sum.
with part as (
    select * from headrace.stat where span = $1 and at >= $3 and at < $3 + $2
), parts as (
    select type_id, agent_id, sum(wait_s) as wait_s, sum(run_s) as run_s,
        (sum(slots) * $1 / $2)::int as slots, max(waiting) as waiting
    from part group by type_id, agent_id
), counts as (
    select type_id, agent_id, jsonb_object_agg(key, total) filter (where name = 'numbers') as numbers,
        jsonb_object_agg(key, total) filter (where name = 'wait') as wait, jsonb_object_agg(key, total) filter (where name = 'run') as run
    from (
        select p.type_id, p.agent_id, c.name, n.key, sum(n.value::bigint) as total
        from part p cross join lateral (values ('numbers', p.numbers), ('wait', p.wait), ('run', p.run)) c (name, counts) cross join lateral jsonb_each_text(c.counts) n
        group by p.type_id, p.agent_id, c.name, n.key
    ) totals group by type_id, agent_id
)
insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
select $2, $3, p.type_id, p.agent_id, 0, coalesce(numbers, '{}'), coalesce(wait, '{}'), coalesce(run, '{}'), wait_s, run_s, slots, waiting
from parts p left join counts using (type_id, agent_id)
on conflict (span, at, type_id, agent_id, life_id) do update set
    numbers = excluded.numbers, wait = excluded.wait, run = excluded.run, wait_s = excluded.wait_s, run_s = excluded.run_s, slots = excluded.slots, waiting = excluded.waiting
