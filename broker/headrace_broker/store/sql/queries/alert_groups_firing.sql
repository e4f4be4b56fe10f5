-- Groups of a domain that are open, newest first: few, beside those that were resolved.
-- $1 domain text, $2 below this id bigint, $3 rows int, $4 sources that this release knows text[]. Index: alert_group_open. Locks: none. Returns as alert_groups_open.
select group_id, domain, source, rule, type, fingerprint, extract(epoch from started_at)::float8 as started_s, extract(epoch from changed_at)::float8 as changed_s,
    extract(epoch from next_at)::float8 as next_s, extract(epoch from notified_at)::float8 as notified_s, extract(epoch from ended_at)::float8 as ended_s,
    extract(epoch from resolved_at)::float8 as resolved_s, total, pending, silenced, notices, summary, first_job_id, last_job_id
from (select * from headrace.alert_group where domain = $1 and resolved_at is null offset 0) g
where group_id < $2 and source = any($4) order by group_id desc limit $3
