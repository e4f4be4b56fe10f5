-- How many jobs of one range stay and how many are gone, as headrace.retire_range would find them; without locks.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 minute (since 1970) before which a delete date is due int, $5 lowest id whose key is kept bigint.
-- Reads the range's events once in key order. Returns one row: kept bigint, gone bigint.
with heads as materialized (
    select distinct on (job_id) job_id, state, delete_minute from headrace.event where (job_id & 7) = $1 and job_id >= $2 and job_id < $3 order by job_id, seq desc
)
select count(*) filter (where stays) as kept, count(*) filter (where not stays) as gone
from (
    select h.state is null or h.state <= 2 or (h.state <= 5 and (h.delete_minute is null or h.delete_minute >= $4)) or (j.idempotency_key is not null and j.job_id >= $5)
        or j.job_id in (select w.job_id from headrace.waited_for($1::int, $2, $3) w) as stays
    from headrace.job j left join heads h using (job_id)
    where (j.job_id & 7) = $1 and j.job_id >= $2 and j.job_id < $3
) jobs
