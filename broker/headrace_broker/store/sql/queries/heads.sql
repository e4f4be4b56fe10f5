-- Where these jobs stand: the newest event of each, with what a change needs to know of the submission and of the amendments that hold.
-- The newest note of a lease is the one that was stored last (xmin): the clock may have been set back meanwhile.
-- $1 job_id bigint[] of one retention class, $2 that class int. Indexes: primary keys of the job and event leaves, those of the note leaves. Locks: none.
-- Returns: job_id bigint, type_id int, priority int, instance_id text, seq int, kind smallint, state smallint, run smallint, attempt smallint, losses smallint,
-- delete_minute int, available_at timestamptz, agent_id int, at timestamptz (updates left out), labels text (JSON), more text (JSON), unique_key text, limit_key text,
-- fairness_key text, required_labels text (JSON), waits_for text (JSON: an array of ids, or an object of ids and runs; null: the job waits for no other), amended text (JSON); seq and kind 0 where nothing happened yet.
select j.job_id, j.type_id, coalesce((t.amended ->> 'priority')::int, j.priority) as priority, j.instance_id, coalesce(e.seq, 0) as seq, coalesce(e.kind, 0) as kind,
       coalesce(e.state, 1) as state, coalesce(e.run, 1) as run, coalesce(e.attempt, 0) as attempt, coalesce(e.losses, 0) as losses, e.delete_minute,
       case when e.seq is null then j.available_at else e.available_at end as available_at, e.agent_id, case when e.kind = 16 then s.at else e.at end as at,
       coalesce(t.amended -> 'labels', j.labels)::text as labels, j.more::text as more, j.more ->> 'unique_key' as unique_key,
       j.more->>'limit_key' as limit_key, j.more->>'fairness_key' as fairness_key, (j.more->'required_labels')::text as required_labels,
       case when j.more ? 'depends_on' and not exists (select from headrace.event m where m.job_id = j.job_id and (m.job_id & 7) = $2 and m.kind = 13 and m.seq > coalesce(w.since, 0))
    then coalesce(w.waits_for, j.more -> 'depends_on')::text end as waits_for,
       t.amended::text as amended
from headrace.job j
left join lateral (select * from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = $2 order by e.seq desc limit 1) e on true
left join lateral (select s.at from headrace.event s where e.kind = 16 and s.job_id = j.job_id and (s.job_id & 7) = $2 and s.kind <> 16 order by s.seq desc limit 1) s on true
left join lateral (
    select convert_from(n.data, 'UTF8')::jsonb as amended from headrace.note n where n.job_id = j.job_id and (n.job_id & 7) = $2 and n.kind = 7
    order by n.lease_epoch desc, age(n.xmin), n.at desc limit 1
) t on true
left join lateral (
    select n.lease_epoch as since, convert_from(n.data, 'UTF8')::jsonb as waits_for from headrace.note n
    where j.more ? 'depends_on' and n.job_id = j.job_id and (n.job_id & 7) = $2 and n.kind = 13 order by n.lease_epoch desc limit 1
) w on true
where j.job_id = any ($1) and (j.job_id & 7) = $2
