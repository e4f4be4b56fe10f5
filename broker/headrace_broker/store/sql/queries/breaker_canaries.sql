-- Which of these open leases were granted since a time: canaries, when the breaker of their type lets canaries go since then.
-- $1 job_id bigint[], $2 lease_epoch int[], $3 since timestamptz. Index: primary keys of the event leaves. Locks: none. Returns: job_id bigint.
select e.job_id
from unnest($1::bigint[], $2::int[]) as u (job_id, lease_epoch)
join headrace.event e on e.job_id = u.job_id and (e.job_id & 7) = (u.job_id & 7) and e.seq = u.lease_epoch and e.at >= $3
