-- What single agents did, added up by agent and point, of the newest rows of a period: where there are more, the oldest times are left out, each as a whole.
-- $1 span int, $2 from int (minute, included), $3 to int (excluded), $4 type_id int[], $5 minutes of a point int, $6 most rows that are added up int.
-- Index: primary key of stat, backwards. Locks: none. Returns one row at least and at most 50,001, newest first: at int (first minute of the point; null: there is nothing),
-- agent (name), numbers, run (JSON as text), run_s float8, left_out int (nothing up to this minute, itself included, is in it; null: all is).
-- Counts are added up as in stat_roll. No SQL function does it for both: it would be called once for each of up to 50,001 sums, where one hash aggregate serves them all.
with part as (
    select at, agent_id, numbers, run, run_s from headrace.stat
    where span = $1 and at >= $2 and at < $3 and type_id = any ($4::int[]) and agent_id <> 0
    order by at desc limit $6::int + 1
), edge as (
    select case when count(*) > $6::int then min(at) end as left_out from part
), kept as materialized (
    select p.at / $5::int * $5::int as point, coalesce(a.name, '') as agent, p.numbers, p.run, p.run_s
    from part p cross join edge e left join headrace.agent a using (agent_id)
    where e.left_out is null or p.at > e.left_out
), sums as (
    select point, agent, sum(run_s)::float8 as run_s from kept group by point, agent
), counts as (
    select point, agent, jsonb_object_agg(key, total) filter (where name = 'numbers') as numbers, jsonb_object_agg(key, total) filter (where name = 'run') as run
    from (
        select k.point, k.agent, c.name, n.key, sum(n.value::bigint) as total
        from kept k cross join lateral (values ('numbers', k.numbers), ('run', k.run)) c (name, counts) cross join lateral jsonb_each_text(c.counts) n
        group by k.point, k.agent, c.name, n.key
    ) totals group by point, agent
)
select s.point as at, s.agent, coalesce(c.numbers, '{}')::text as numbers, coalesce(c.run, '{}')::text as run, s.run_s, e.left_out
from edge e left join sums s on true left join counts c using (point, agent)
order by s.point desc
limit 50001
