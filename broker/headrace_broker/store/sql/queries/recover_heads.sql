-- Where jobs stand to which something happened, those that are not settled; and jobs to which nothing happened but that wait for others.
-- $1 job_id bigint[] of one retention class, $2 that class int. Indexes: primary keys of the job and event leaves, note (job_id). Locks: none.
-- Returns: as recover_live; seq and kind 0 where nothing happened yet.
select j.job_id, j.type_id, j.priority, j.instance_id, case when l.seq is null then j.available_at else l.available_at end as available_at,
  coalesce(l.seq, 0) as seq, coalesce(l.kind, 0) as kind, coalesce(l.state, 1) as state, coalesce(l.run, 1) as run, coalesce(l.attempt, 0) as attempt,
  coalesce(l.losses, 0) as losses, l.agent_id, l.lease_s,
  case when coalesce(j.more ? 'depends_on', false) and not exists (select from headrace.event m where m.job_id = j.job_id and (m.job_id & 7) = $2 and m.kind = 13 and m.seq > coalesce(w.since, 0))
    then coalesce(w.waits_for, j.more -> 'depends_on')::text end as waits_for,
  j.more->>'limit_key' as limit_key, j.more->>'fairness_key' as fairness_key, (j.more->'required_labels')::text as required_labels,
  case when l.state = 2 then (select count(*) from headrace.event e where e.job_id = l.job_id and (e.job_id & 7) = $2 and e.run = l.run and e.kind = 8) else 0 end as owner_changes
from unnest($1::bigint[]) as u (job_id)
cross join lateral (select * from headrace.job where job_id = u.job_id and (job_id & 7) = $2 limit 1) j -- each by the index: a join of many would read all jobs that there are
left join lateral (select * from headrace.event e where e.job_id = u.job_id and (e.job_id & 7) = $2 order by e.seq desc limit 1) l on true
left join lateral (
    select n.lease_epoch as since, convert_from(n.data, 'UTF8')::jsonb as waits_for from headrace.note n
    where j.more ? 'depends_on' and n.job_id = j.job_id and (n.job_id & 7) = $2 and n.kind = 13 order by n.lease_epoch desc limit 1
) w on true
where coalesce(l.state, 1) in (1, 2)
