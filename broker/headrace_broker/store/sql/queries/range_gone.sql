-- Which jobs of a part of a range stay, and how many are gone: purged, or settled with a delete date before $4. Jobs with an idempotency key stay while their id is at least $5, so that
-- the key is kept for its time; so do jobs that a live job waits for or waited for, and those of which the newest checkpoint of their shard may say that they wait: who takes over
-- reads there what has not happened since, and events that are gone tell nothing.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 minute (since 1970) before which a delete date is due int, $5 lowest id whose key is kept bigint,
-- $6 and $7 what range_floors told int[], timestamptz[].
-- Reads the part's events once in key order. Locks: none.
-- Returns one row: at timestamptz (when it looked), last bigint (highest id of all; null: none), kept bigint[], live bigint (of these, waiting or processing), gone bigint.
with heads as materialized (
    select distinct on (job_id) job_id, state, delete_minute, at from headrace.event where (job_id & 7) = $1 and job_id >= $2 and job_id < $3 order by job_id, seq desc
)
select now() as at, max(job_id) as last, coalesce(array_agg(job_id) filter (where stays), '{}') as kept, count(*) filter (where lives) as live, count(*) filter (where not stays) as gone
from (
    select j.job_id, coalesce(h.state <= 2, true) as lives,
        h.state <= 2 or (h.state <= 5 and (h.delete_minute is null or h.delete_minute >= $4)) or (h.at < f.floor) is not true  -- what only waits has no event
        or (j.idempotency_key is not null and j.job_id >= $5) or j.job_id in (select w.job_id from headrace.waited_for($1::int, $2, $3) w) as stays
    from headrace.job j left join heads h using (job_id) left join unnest($6::int[], $7::timestamptz[]) f (type_id, floor) using (type_id)
    where (j.job_id & 7) = $1 and j.job_id >= $2 and j.job_id < $3
) jobs
