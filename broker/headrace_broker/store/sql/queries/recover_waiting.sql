-- Jobs with ids in a window to which nothing happened since they were submitted, by type, priority and terms: those that are ready, those that wait for a time, and those that
-- wait for other jobs.
-- $1 class int, $2 lowest id bigint, $3 highest id bigint. Reads the window of both tables once. Locks: none.
-- Returns: type_id int, priority int, held boolean (they wait for other jobs), job_ids bigint[] (ascending), due float8[] (seconds since 1970, or nulls), limit_key text,
-- fairness_key text, required_labels text (JSON).
select j.type_id, j.priority, coalesce(j.more ? 'depends_on', false) as held, array_agg(j.job_id order by j.job_id) as job_ids,
  array_agg(extract(epoch from j.available_at)::float8 order by j.job_id) as due,
  j.more->>'limit_key' as limit_key, j.more->>'fairness_key' as fairness_key, (j.more->'required_labels')::text as required_labels
from headrace.job j
where (j.job_id & 7) = $1 and j.job_id >= $2 and j.job_id <= $3
  and not exists (select from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = $1 and e.job_id >= $2 and e.job_id <= $3)
group by j.type_id, j.priority, j.available_at is null, coalesce(j.more ? 'depends_on', false), j.more->>'limit_key', j.more->>'fairness_key', j.more->'required_labels'
