-- The newest ticks of a schedule, and the runs that were asked for.
-- $1 schedule_id int, $2 limit int. Index: primary key of schedule_fire. No locks.
select nominal_at, outcome, job_id, fired_at from headrace.schedule_fire where schedule_id = $1 order by nominal_at desc, request_id desc limit $2
