-- Ids of jobs of one type, oldest first.
-- $1 type_id int, $2 above this id bigint, $3 rows int. Index: (type_id, job_id) of the job leaves. Locks: none.
select job_id from headrace.job where type_id = $1 and job_id > $2 order by job_id limit $3
