-- The unsettled jobs of one range to which something happened: processing, or waiting after an attempt.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint. Reads the range's events once in key order, then the jobs. Locks: none.
-- Returns: job_id bigint, type_id int, priority int, instance_id text, available_at timestamptz, seq int, kind smallint, state smallint, run smallint, attempt smallint, losses smallint,
-- agent_id int, lease_s real, waits_for text (JSON, as in heads: the job is held, and waits for these), limit_key text, fairness_key text,
-- required_labels text (JSON), owner_changes bigint (events of kind 8 of the run, for open leases).
with heads as materialized (
    select distinct on (job_id) job_id, seq, kind, state, run, attempt, losses, agent_id, lease_s, available_at
    from headrace.event
    where (job_id & 7) = $1 and job_id >= $2 and job_id < $3
    order by job_id, seq desc
), live as materialized (
    select * from heads where state in (1, 2)
)
select j.job_id, j.type_id, j.priority, j.instance_id, l.available_at, l.seq, l.kind, l.state, l.run, l.attempt, l.losses, l.agent_id, l.lease_s,
  case when j.more ? 'depends_on' and not exists (select from headrace.event m where m.job_id = j.job_id and (m.job_id & 7) = $1 and m.kind = 13 and m.seq > coalesce(w.since, 0))
    then coalesce(w.waits_for, j.more -> 'depends_on')::text end as waits_for,
  j.more->>'limit_key' as limit_key, j.more->>'fairness_key' as fairness_key, (j.more->'required_labels')::text as required_labels,
  case when l.state = 2 then (
    select count(*) from headrace.event e
    where e.job_id = l.job_id and (e.job_id & 7) = $1 and e.job_id >= $2 and e.job_id < $3 and e.run = l.run and e.kind = 8
  ) else 0 end as owner_changes
from live l join headrace.job j on j.job_id = l.job_id and (j.job_id & 7) = $1 and j.job_id >= $2 and j.job_id < $3
left join lateral (
    select n.lease_epoch as since, convert_from(n.data, 'UTF8')::jsonb as waits_for from headrace.note n
    where j.more ? 'depends_on' and n.job_id = j.job_id and (n.job_id & 7) = $1 and n.kind = 13 order by n.lease_epoch desc limit 1
) w on true
