-- Attempts that ended, and those of them that failed, by type: of the newest rows of some minutes.
-- $1 from int (minute, included), $2 to int (excluded), $3 type_id int[], $4 most rows that are added up int.
-- Index: stat_totals, backwards. Locks: none. Returns: type_id int, ended bigint, failed bigint.
select type_id, sum(completed + failed)::bigint as ended, sum(failed)::bigint as failed
from (
    select type_id, coalesce((numbers->>'completed')::bigint, 0) as completed,
        coalesce((numbers->>'failed')::bigint, 0) + coalesce((numbers->>'timed_out')::bigint, 0) + coalesce((numbers->>'lost')::bigint, 0) as failed
    from headrace.stat
    where span = 1 and at >= $1 and at < $2 and type_id = any ($3::int[]) and agent_id = 0
    order by at desc limit $4
) newest
group by type_id
