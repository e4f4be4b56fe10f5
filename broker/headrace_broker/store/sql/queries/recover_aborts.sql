-- Abort requests that concern these open leases, and how far each came; oldest first, in the order in which they were stored (xmin): the clock may have been set back.
-- $1 job_id bigint[], $2 lease_epoch int[]. Index: note (job_id). Locks: none.
-- Returns: job_id bigint, kind smallint (1: request, 6: step), actor text, reason text, data bytea (see shards/aborts.py).
select n.job_id, n.kind, n.actor, n.reason, n.data
from unnest($1::bigint[], $2::int[]) as u (job_id, lease_epoch)
join headrace.note n on n.job_id = u.job_id and (n.job_id & 7) = (u.job_id & 7) and n.lease_epoch = u.lease_epoch and n.kind in (1, 6)
order by age(n.xmin) desc, n.at, n.kind
