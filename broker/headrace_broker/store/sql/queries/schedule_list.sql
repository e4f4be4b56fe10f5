-- Schedules of a shard, deleted ones too, that changed since a time; all of them when it is null.
-- $1 timestamptz, $2 how many shards int, $3 number of the shard int. Index: schedule_by_change. No locks.
select s.schedule_id, d.name as domain, s.name, s.version, s.deleted, s.cron, s.time_zone, s.interval_s, s.anchor, s.at, s.start_at, s.end_at, s.type_id, t.name as type, s.payload, s.content_type,
    s.instance_id, s.priority, s.labels::text as labels, s.overlap, s.missed, s.max_missed, s.jitter_s, s.paused_at, s.paused_by, s.paused_reason, s.next_at, s.ticked_at,
    s.fired_at, s.last_job_id, s.queued_at, s.aborting_id, s.fired, s.skipped, s.created_at, s.changed_at
from headrace.schedule s join headrace.domain d using (domain_id) join headrace.job_type t using (type_id)
where ($1::timestamptz is null or s.changed_at >= $1) and s.domain_id % $2 = $3
