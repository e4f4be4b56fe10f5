-- Jobs of one range to which nothing happened since they were submitted and that need not wait for a time, by type and priority.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint. Reads the range of both tables once (hash anti join). Locks: none.
-- Returns: type_id int, priority int, job_ids bigint[] (ascending).
select j.type_id, j.priority, array_agg(j.job_id order by j.job_id) as job_ids
from headrace.job j
where (j.job_id & 7) = $1 and j.job_id >= $2 and j.job_id < $3 and j.available_at is null
  and not exists (select from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = $1 and e.job_id >= $2 and e.job_id < $3)
group by j.type_id, j.priority
