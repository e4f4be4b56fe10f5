-- Completions that came through the door, with what the owner would remember of the jobs.
-- $1 job_id bigint[], $2 lease_epoch int[]. Indexes: primary keys of the job and event leaves. Locks: none.
-- Returns: job_id bigint, lease_epoch int, type_id int, priority int, instance_id text, run smallint, attempt smallint, losses smallint, agent_id int, delete_minute int,
-- newest boolean (nothing happened to the job since), unique_key text.
select u.job_id, u.lease_epoch, e.type_id, j.priority, j.instance_id, e.run, e.attempt, e.losses, e.agent_id, e.delete_minute,
       not exists (select from headrace.event l where l.job_id = u.job_id and (l.job_id & 7) = (u.job_id & 7) and l.seq > e.seq) as newest,
       j.more ->> 'unique_key' as unique_key
from unnest($1::bigint[], $2::int[]) as u (job_id, lease_epoch)
join headrace.event e on e.job_id = u.job_id and (e.job_id & 7) = (u.job_id & 7) and e.seq = u.lease_epoch::bigint + 1
join headrace.job j on j.job_id = u.job_id and (j.job_id & 7) = (u.job_id & 7)
