-- Takes the locks of jobs for this session, those that are free: nobody else's transaction is about to complete them. At most a few hundred: they lie in shared memory.
-- $1 job_id bigint[]. Locks: session advisory locks, one-number space. Returns: job_id bigint, of those taken.
select u.job_id from unnest($1::bigint[]) as u (job_id) where pg_try_advisory_lock(u.job_id)
