-- Oldest jobs of one type in a window of ids: read in their order, so that it does not matter how many there are, of this type or of others. The bounds stand there twice: as
-- rows and with both columns in the order, so that no index but that of the type will do, and by themselves, for the partitions.
-- $1 lowest id bigint, $2 id above the highest bigint, $3 type_id int, $4 rows int. Index: (type_id, job_id) of the job leaves; planned anew for each call. Locks: none.
-- Returns: job_id bigint.
select job_id from headrace.job where (type_id, job_id) >= ($3::int, $1::bigint) and (type_id, job_id) < ($3::int, $2::bigint) and job_id >= $1 and job_id < $2
order by type_id, job_id limit $4
