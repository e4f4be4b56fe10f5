-- Jobs of one range up to an id to which something happened at or after a time, by whether the newest of these events settles them.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 that id bigint, $5 that time timestamptz. Index: event leaves by time (BRIN). Locks: none.
-- Returns one row: unsettled bigint[], settled bigint[].
select coalesce(array_agg(job_id) filter (where unsettled), '{}') as unsettled, coalesce(array_agg(job_id) filter (where not unsettled), '{}') as settled
from (
    select distinct on (job_id) job_id, state in (1, 2) as unsettled from headrace.event
    where (job_id & 7) = $1 and job_id >= $2 and job_id < $3 and job_id <= $4 and at >= $5
    order by job_id, seq desc
) newest
