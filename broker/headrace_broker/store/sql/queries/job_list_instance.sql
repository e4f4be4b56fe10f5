-- Ids of jobs of one instance and these types, newest first.
-- $1 type_id int[], $2 lowest id bigint, $3 below this id bigint, $4 instance_id text, $5 rows int. Index: (instance_id, job_id) of the job leaves. Locks: none.
select job_id from headrace.job where instance_id = $4 and type_id = any ($1) and job_id >= $2 and job_id < $3 order by job_id desc limit $5
