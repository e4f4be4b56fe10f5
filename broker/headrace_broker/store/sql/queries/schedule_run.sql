-- The job of a run that was asked for under this request id.
-- $1 schedule_id int, $2 request_id text. Index: schedule_fire_by_request. No locks.
select job_id from headrace.schedule_fire where schedule_id = $1 and request_id = $2
