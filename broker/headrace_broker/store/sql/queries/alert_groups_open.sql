-- All groups that are open, of the domains of a shard. $1 how many shards int, $2 which one int. Index: alert_group_open. Locks: none. Times in seconds since 1970.
select group_id, domain, source, rule, type, fingerprint, extract(epoch from started_at)::float8 as started_s, extract(epoch from changed_at)::float8 as changed_s,
    extract(epoch from next_at)::float8 as next_s, extract(epoch from notified_at)::float8 as notified_s, extract(epoch from ended_at)::float8 as ended_s,
    extract(epoch from resolved_at)::float8 as resolved_s, total, pending, silenced, notices, summary, first_job_id, last_job_id
from headrace.alert_group g where resolved_at is null and ($1 = 1 or coalesce((select d.domain_id from headrace.domain d where d.name = g.domain), 0) % $1 = $2)
order by group_id
