-- Ids of jobs of one instance and these types, oldest first.
-- $1 type_id int[], $2 instance_id text, $3 id above which bigint, $4 rows int. Index: (instance_id, job_id) of the job leaves. Locks: none.
select job_id from headrace.job where instance_id = $2 and type_id = any ($1) and job_id > $3 order by job_id limit $4
