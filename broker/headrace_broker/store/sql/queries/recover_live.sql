-- The other unsettled jobs of one range: processing, waiting after an attempt, or waiting for the time they were submitted for.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint. Reads the range once by the event leaves' primary key. Locks: none.
-- Returns: job_id bigint, type_id int, priority int, instance_id text, available_at timestamptz, seq int, kind smallint, state smallint, run smallint, attempt smallint, losses smallint,
-- agent_id int, lease_s real.
select j.job_id, j.type_id, j.priority, j.instance_id, case when e.seq is null then j.available_at else e.available_at end as available_at, coalesce(e.seq, 0) as seq, coalesce(e.kind, 0) as kind,
       coalesce(e.state, 1) as state, coalesce(e.run, 1) as run, coalesce(e.attempt, 0) as attempt, coalesce(e.losses, 0) as losses, e.agent_id, e.lease_s
from headrace.job j
left join (
    select distinct on (job_id) * from headrace.event
    where (job_id & 7) = $1 and job_id >= $2 and job_id < $3
    order by job_id, seq desc
) e using (job_id)
where (j.job_id & 7) = $1 and j.job_id >= $2 and j.job_id < $3
  and (e.state in (1, 2) or e.state is null and j.available_at is not null)
