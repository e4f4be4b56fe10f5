-- Ids of jobs of these types, newest first.
-- $1 type_id int[], $2 lowest id bigint, $3 below this id bigint, $4 rows int. Index: primary key of the job leaves, walked backwards. Locks: none.
select job_id from headrace.job where type_id = any ($1) and job_id >= $2 and job_id < $3 order by job_id desc limit $4
