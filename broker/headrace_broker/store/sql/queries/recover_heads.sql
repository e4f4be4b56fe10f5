-- Where jobs stand to which something happened, those that are not settled.
-- $1 job_id bigint[] of one retention class, $2 that class int. Indexes: primary keys of the job and event leaves. Locks: none.
-- Returns: as recover_live.
select j.job_id, j.type_id, j.priority, j.instance_id, l.available_at, l.seq, l.kind, l.state, l.run, l.attempt, l.losses, l.agent_id, l.lease_s, j.more->>'limit_key' as limit_key, j.more->>'fairness_key' as fairness_key, (j.more->'required_labels')::text as required_labels,
  case when l.state = 2 then (select count(*) from headrace.event e where e.job_id = l.job_id and (e.job_id & 7) = $2 and e.run = l.run and e.kind = 8) else 0 end as owner_changes
from unnest($1::bigint[]) as u (job_id)
cross join lateral (select * from headrace.event e where e.job_id = u.job_id and (e.job_id & 7) = $2 order by e.seq desc limit 1) l
join headrace.job j on j.job_id = u.job_id and (j.job_id & 7) = $2
where l.state in (1, 2)
