-- Pauses, resumes or deletes a schedule. The caller holds its row's lock.
-- $1 schedule_id int, $2 deleted boolean, $3 paused boolean, $4 paused_by text, $5 paused_reason text, $6 next_at timestamptz. Index: primary key. Returns as schedule_list.
with s as (
    update headrace.schedule set
        version = version + 1, changed_at = clock_timestamp(), deleted = $2, next_at = $6,
        paused_at = case when $3 then coalesce(paused_at, clock_timestamp()) end, paused_by = $4, paused_reason = $5,
        queued_at = case when not $2 then queued_at end, last_job_id = case when not $2 then last_job_id end, fired = case when $2 then 0 else fired end,
        skipped = case when $2 then 0 else skipped end, fired_at = case when not $2 then fired_at end
    where schedule_id = $1
    returning *
)
select s.schedule_id, d.name as domain, s.name, s.version, s.deleted, s.cron, s.time_zone, s.interval_s, s.anchor, s.at, s.start_at, s.end_at, s.type_id, t.name as type, s.payload, s.content_type,
    s.instance_id, s.priority, s.labels::text as labels, s.overlap, s.missed, s.max_missed, s.jitter_s, s.paused_at, s.paused_by, s.paused_reason, s.next_at, s.ticked_at,
    s.fired_at, s.last_job_id, s.queued_at, s.aborting_id, s.fired, s.skipped, s.created_at, s.changed_at
from s join headrace.domain d using (domain_id) join headrace.job_type t using (type_id)
