-- Jobs of one range to which something happened at or after a time.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 time timestamptz. Index: event leaves by time (BRIN). Locks: none.
-- Returns one row: job_ids bigint[].
select coalesce(array_agg(distinct job_id), '{}') as job_ids from headrace.event where (job_id & 7) = $1 and job_id >= $2 and job_id < $3 and at >= $4
