-- Makes a schedule, or replaces what it does and when. The caller holds its row's lock if there is one (schedule_lock).
-- $1 domain text, $2 name text, $3 cron text, $4 time_zone text, $5 interval_s int, $6 anchor timestamptz, $7 at timestamptz, $8 start_at timestamptz, $9 end_at timestamptz,
-- $10 type_id int, $11 payload bytea, $12 content_type text, $13 instance_id text, $14 priority int, $15 labels text (JSON), $16 overlap text, $17 missed text,
-- $18 max_missed int, $19 jitter_s float8, $20 next_at timestamptz. Index: schedule (domain_id, name). Locks: the row. Returns as schedule_list.
-- One that was deleted is as a new one, but for its id and its last tick.
with s as (
    insert into headrace.schedule as old (domain_id, name, cron, time_zone, interval_s, anchor, at, start_at, end_at, type_id, payload, content_type, instance_id, priority, labels,
        overlap, missed, max_missed, jitter_s, next_at)
    values ((select domain_id from headrace.domain where name = $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::jsonb, $16, $17, $18, $19, $20)
    on conflict (domain_id, name) do update set
        version = old.version + 1, deleted = false, changed_at = clock_timestamp(),
        cron = excluded.cron, time_zone = excluded.time_zone, interval_s = excluded.interval_s, anchor = excluded.anchor, at = excluded.at, start_at = excluded.start_at,
        end_at = excluded.end_at, type_id = excluded.type_id, payload = excluded.payload, content_type = excluded.content_type, instance_id = excluded.instance_id,
        priority = excluded.priority, labels = excluded.labels, overlap = excluded.overlap, missed = excluded.missed, max_missed = excluded.max_missed,
        jitter_s = excluded.jitter_s, next_at = excluded.next_at,
        created_at = case when old.deleted then clock_timestamp() else old.created_at end
    returning *
)
select s.schedule_id, d.name as domain, s.name, s.version, s.deleted, s.cron, s.time_zone, s.interval_s, s.anchor, s.at, s.start_at, s.end_at, s.type_id, t.name as type, s.payload, s.content_type,
    s.instance_id, s.priority, s.labels::text as labels, s.overlap, s.missed, s.max_missed, s.jitter_s, s.paused_at, s.paused_by, s.paused_reason, s.next_at, s.ticked_at,
    s.fired_at, s.last_job_id, s.queued_at, s.aborting_id, s.fired, s.skipped, s.created_at, s.changed_at
from s join headrace.domain d using (domain_id) join headrace.job_type t using (type_id)
