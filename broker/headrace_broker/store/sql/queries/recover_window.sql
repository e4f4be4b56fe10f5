-- The highest of the next ids of one range.
-- $1 class int, $2 id above which bigint, $3 id above the highest bigint, $4 how many int. Index: primary key of the job leaves. Locks: none.
-- Returns one row: last bigint, null when there are no more.
select max(job_id) as last from (
    select job_id from headrace.job where (job_id & 7) = $1 and job_id > $2 and job_id < $3 order by job_id limit $4
) next
