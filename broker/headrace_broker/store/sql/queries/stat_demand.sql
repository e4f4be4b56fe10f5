-- What was asked for in each hour, of some types together: the newest rows of a period.
-- $1 span int, $2 from int (minute, included), $3 to int (excluded), $4 type_id int[], $5 most rows that are added up int.
-- Index: stat_totals, backwards. Locks: none. Returns a row for each hour in which something was counted, oldest first: at int (its first minute), asked bigint (attempts
-- asked for: submitted, requeued, retried), ended bigint (attempts), run_s float8 (of those), left_out int (nothing up to this minute, itself included, is in any row; null: all is).
with part as (
    select at, numbers, run_s from headrace.stat
    where span = $1 and at >= $2 and at < $3 and type_id = any ($4::int[]) and agent_id = 0
    order by at desc limit $5::int + 1
), edge as (
    select case when count(*) > $5::int then min(at) / 60 * 60 + 59 end as left_out from part
), sums as (
    select p.at / 60 * 60 as hour, sum(p.run_s)::float8 as run_s,
        coalesce(sum((p.numbers->>'submitted')::bigint), 0) + coalesce(sum((p.numbers->>'requeued')::bigint), 0) as came,
        coalesce(sum((p.numbers->>'failed')::bigint), 0) + coalesce(sum((p.numbers->>'timed_out')::bigint), 0) + coalesce(sum((p.numbers->>'lost')::bigint), 0) as failures,
        coalesce(sum((p.numbers->>'error')::bigint), 0) + coalesce(sum((p.numbers->>'aborted')::bigint), 0) as given_up,
        coalesce(sum((p.numbers->>'completed')::bigint), 0) as completed
    from part p cross join edge e
    where e.left_out is null or p.at > e.left_out
    group by 1
)
select s.hour as at, (s.came + greatest(0, s.failures - s.given_up))::bigint as asked, (s.completed + s.failures)::bigint as ended, s.run_s, e.left_out
from sums s cross join edge e
order by s.hour
