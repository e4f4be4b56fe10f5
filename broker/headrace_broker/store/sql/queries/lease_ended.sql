-- Which of these leases have ended. To be asked after their jobs' locks are taken, in a statement, so a snapshot, of its own.
-- $1 job_id bigint[], $2 lease_epoch int[]. Index: primary key of the event leaves. Locks: none. Returns: job_id bigint.
select u.job_id from unnest($1::bigint[], $2::int[]) as u (job_id, lease_epoch)
where exists (select from headrace.event e where e.job_id = u.job_id and (e.job_id & 7) = (u.job_id & 7) and e.seq = u.lease_epoch + 1)
