-- Abort requests that concern these open leases, newest last.
-- $1 job_id bigint[], $2 lease_epoch int[]. Index: note (job_id). Locks: none.
-- Returns: job_id bigint, actor text, reason text, data bytea (grace in seconds, as text).
select n.job_id, n.actor, n.reason, n.data
from unnest($1::bigint[], $2::int[]) as u (job_id, lease_epoch)
join headrace.note n on n.job_id = u.job_id and (n.job_id & 7) = (u.job_id & 7) and n.lease_epoch = u.lease_epoch and n.kind = 1
order by n.at
