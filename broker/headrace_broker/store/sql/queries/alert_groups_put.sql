-- Stores groups as they are now: those without an id are new, the others have changed. An open group of a key that another one has makes it fail.
-- $1 text: JSON array of the columns, times in seconds since 1970; group_id 0: new. Indexes: primary key, alert_group_open. Locks: the rows.
-- Returns group_id and the columns of the key.
with given as materialized (
    select * from jsonb_to_recordset($1::text::jsonb) as u (
        group_id bigint, domain text, source text, rule text, type text, fingerprint text, started_s float8, changed_s float8, next_s float8, notified_s float8, ended_s float8,
        resolved_s float8, total bigint, pending bigint, silenced bigint, notices int, summary text, first_job_id bigint, last_job_id bigint
    )
), changed as (
    update headrace.alert_group g set
        changed_at = to_timestamp(u.changed_s), next_at = to_timestamp(u.next_s), notified_at = to_timestamp(u.notified_s), ended_at = to_timestamp(u.ended_s),
        resolved_at = to_timestamp(u.resolved_s), total = u.total, pending = u.pending, silenced = u.silenced, notices = u.notices, summary = u.summary,
        first_job_id = u.first_job_id, last_job_id = u.last_job_id
    from given u where u.group_id > 0 and g.group_id = u.group_id
    returning g.group_id, g.domain, g.source, g.rule, g.type, g.fingerprint
), made as (
    insert into headrace.alert_group (
        domain, source, rule, type, fingerprint, started_at, changed_at, next_at, notified_at, ended_at, resolved_at, total, pending, silenced, notices, summary,
        first_job_id, last_job_id
    )
    select domain, source, rule, type, fingerprint, to_timestamp(started_s), to_timestamp(changed_s), to_timestamp(next_s), to_timestamp(notified_s), to_timestamp(ended_s),
        to_timestamp(resolved_s), total, pending, silenced, notices, summary, first_job_id, last_job_id
    from given where group_id = 0
    returning group_id, domain, source, rule, type, fingerprint
)
select * from changed union all select * from made
