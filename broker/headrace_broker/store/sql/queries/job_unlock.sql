-- Gives the locks of jobs back. $1 job_id bigint[].
select pg_advisory_unlock(u.job_id) from unnest($1::bigint[]) as u (job_id)
