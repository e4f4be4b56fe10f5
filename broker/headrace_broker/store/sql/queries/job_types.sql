-- The job types of these jobs.
-- $1 job_id bigint[]. Index: primary key of the job leaves. Locks: none. Returns: job_id bigint, type_id int; those that are not stored are left out.
select j.job_id, j.type_id from unnest($1::bigint[]) as u (job_id) join headrace.job j on j.job_id = u.job_id and (j.job_id & 7) = (u.job_id & 7)
