-- Transactions that hold the lock of a job of a shard and are not committed yet, the oldest first; last those of which this user is not told since when they are open. Locks that are no
-- job's are other programs', however many they are.
-- $1 rows int, $2 shard int, $3 of how many int. Reads pg_locks, pg_stat_activity and pg_prepared_xacts; each job and its type by their keys.
-- Returns: job_id bigint, pid int or null (it is prepared), opened_at timestamptz and open_s float8, or null, application text, state text or null.
select d.job_id, d.pid, d.xact_start as opened_at, d.open_s, d.application_name as application, d.state from headrace.open_door d
where (
    select t.domain_id % $3::int from headrace.job j join headrace.job_type t on t.type_id = j.type_id where j.job_id = d.job_id and (j.job_id & 7) = (d.job_id & 7)
) = $2::int
order by d.xact_start limit $1::int
