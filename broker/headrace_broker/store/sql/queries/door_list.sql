-- Transactions that hold the lock of a job of a shard and are not committed yet, the oldest first. Where there is one shard, locks that are no job's are not told from them.
-- $1 rows int, $2 shard int, $3 of how many int. Reads pg_locks and pg_stat_activity; of several shards each job and its type by their keys.
-- Returns: job_id bigint, pid int, opened_at timestamptz, open_s float8, application text, state text.
select d.job_id, d.pid, d.xact_start as opened_at, d.open_s, d.application_name as application, d.state from headrace.open_door d
where $3::int = 1 or (
    select t.domain_id % $3::int from headrace.job j join headrace.job_type t on t.type_id = j.type_id where j.job_id = d.job_id and (j.job_id & 7) = (d.job_id & 7)
) = $2::int
order by d.xact_start limit $1::int
