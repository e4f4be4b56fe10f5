-- Jobs by what was submitted, in a window of ids.
-- $1 lowest id bigint, $2 id above the highest bigint, $3 type_id int[], $4 instance_id text or null, $5 labels text (JSON) or null, $6 1: oldest first, -1: newest first int, $7 rows int.
-- Indexes: (instance_id, job_id), (type_id, job_id) or the primary key of the job leaves; planned anew for each call. Locks: none.
-- Returns: job_id bigint.
select j.job_id from headrace.job j
where j.job_id >= $1 and j.job_id < $2 and j.type_id = any ($3) and ($4::text is null or j.instance_id = $4) and ($5::text is null or j.labels @> $5::text::jsonb)
order by j.job_id * $6::int limit $7
