-- Transactions that hold the lock of a job and are not committed yet, the oldest first.
-- $1 rows int. Reads pg_locks and pg_stat_activity. Returns: job_id bigint, pid int, opened_at timestamptz, open_s float8, application text, state text.
select job_id, pid, xact_start as opened_at, open_s, application_name as application, state from headrace.open_door order by xact_start limit $1
