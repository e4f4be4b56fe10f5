-- Stores groups as they are now: new ones, and changes of open ones, each key once.
-- $1 text: JSON array of the columns, times in seconds since 1970. Index: alert_group_open. Locks: the rows. Returns group_id and the columns of the key.
insert into headrace.alert_group as g (
    domain, source, rule, type, fingerprint, started_at, changed_at, next_at, notified_at, ended_at, resolved_at, total, pending, silenced, notices, summary, first_job_id,
    last_job_id
)
select domain, source, rule, type, fingerprint, to_timestamp(started_s), to_timestamp(changed_s), to_timestamp(next_s), to_timestamp(notified_s), to_timestamp(ended_s),
    to_timestamp(resolved_s), total, pending, silenced, notices, summary, first_job_id, last_job_id
from jsonb_to_recordset($1::text::jsonb) as u (
    domain text, source text, rule text, type text, fingerprint text, started_s float8, changed_s float8, next_s float8, notified_s float8, ended_s float8, resolved_s float8,
    total bigint, pending bigint, silenced bigint, notices int, summary text, first_job_id bigint, last_job_id bigint
)
on conflict (domain, source, rule, type, fingerprint) where resolved_at is null do update set
    changed_at = excluded.changed_at, next_at = excluded.next_at, notified_at = excluded.notified_at, ended_at = excluded.ended_at, resolved_at = excluded.resolved_at,
    total = excluded.total, pending = excluded.pending, silenced = excluded.silenced, notices = excluded.notices, summary = excluded.summary,
    first_job_id = excluded.first_job_id, last_job_id = excluded.last_job_id
returning group_id, domain, source, rule, type, fingerprint
