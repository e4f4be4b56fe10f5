-- Newest jobs of one type in a window of ids: read in their order, so that it does not matter how many there are.
-- $1 lowest id bigint, $2 id above the highest bigint, $3 type_id int, $4 rows int. Index: (type_id, job_id) of the job leaves; planned anew for each call. Locks: none.
-- Returns: job_id bigint.
select job_id from headrace.job where job_id >= $1 and job_id < $2 and type_id = $3 order by job_id desc limit $4
