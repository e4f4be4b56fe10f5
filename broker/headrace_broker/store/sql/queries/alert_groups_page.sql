-- Groups of a domain, those that are open too or not, newest first.
-- $1 domain text, $2 open ones too boolean, $3 below this id bigint, $4 rows int, $5 sources that this release knows text[].
-- Index: alert_group_by_domain backwards. Locks: none. Returns as alert_groups_open.
select group_id, domain, source, rule, type, fingerprint, extract(epoch from started_at)::float8 as started_s, extract(epoch from changed_at)::float8 as changed_s,
    extract(epoch from next_at)::float8 as next_s, extract(epoch from notified_at)::float8 as notified_s, extract(epoch from ended_at)::float8 as ended_s,
    extract(epoch from resolved_at)::float8 as resolved_s, total, pending, silenced, notices, summary, first_job_id, last_job_id
from headrace.alert_group where domain = $1 and ($2 or resolved_at is not null) and group_id < $3 and source = any($5) order by group_id desc limit $4
