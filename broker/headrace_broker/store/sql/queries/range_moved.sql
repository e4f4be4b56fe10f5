-- Whether anything was stored in a range since it was looked at that is not about a job which stays.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 when the looking began timestamptz, $5 the highest id it saw bigint, $6 jobs that stay bigint[].
-- Indexes: primary key of the job leaf, event leaf by time. Locks: none. Returns boolean.
select exists (select from headrace.job where (job_id & 7) = $1 and job_id > $5 and job_id < $3 and job_id >= $2)
    or exists (
        select from headrace.event e
        where (e.job_id & 7) = $1 and e.job_id >= $2 and e.job_id < $3 and e.at >= $4 and not exists (select from unnest($6::bigint[]) s (job_id) where s.job_id = e.job_id)
    )
