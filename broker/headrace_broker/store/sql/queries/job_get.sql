-- Jobs by id, with where they stand, their newest grant, error and abort request.
-- $1 job_id bigint[], $2 the retention classes of these ids int[], $3 with payload and result boolean. Indexes: primary keys of the job and event leaves, note (job_id). Locks: none.
-- Returns a row for each job that is stored; seq and kind 0 where nothing happened yet.
select j.job_id, j.type_id, j.priority, j.instance_id, j.content_type, j.idempotency_key, j.labels::text as labels, j.trace_context, coalesce(octet_length(j.payload), 0) as payload_bytes,
       case when e.seq is null then j.available_at else e.available_at end as available_at, coalesce(e.seq, 0) as seq, coalesce(e.kind, 0) as kind, coalesce(e.state, 1) as state,
       coalesce(e.run, 1) as run, coalesce(e.attempt, 0) as attempt, coalesce(e.losses, 0) as losses, e.at, e.delete_minute,
       coalesce(g.seq, 0) as lease_epoch, g.at as started_at, a.name as agent, f.error::text as error,
       j.more ->> 'unique_key' as unique_key, (j.more -> 'depends_on')::text as depends_on, (j.more ->> 'parent_id')::bigint as parent_id, (j.more ->> 'batch_id')::bigint as batch_id, n.abort, case when $3 then j.payload end as payload, case when $3 and e.kind = 2 then e.result end as result,
       j.more->>'limit_key' as limit_key, j.more->>'fairness_key' as fairness_key, (j.more->'required_labels')::text as required_labels
from headrace.job j
left join lateral (select * from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = (j.job_id & 7) and (e.job_id & 7) = any ($2) order by e.seq desc limit 1) e on true
left join lateral (
    select g.seq, g.at, g.agent_id from headrace.event g where g.job_id = j.job_id and (g.job_id & 7) = any ($2) and g.kind = 1 order by g.seq desc limit 1
) g on e.seq is not null
left join headrace.agent a on a.agent_id = g.agent_id
left join lateral (
    select f.error from headrace.event f where f.job_id = j.job_id and (f.job_id & 7) = any ($2) and f.error is not null and f.run = e.run order by f.seq desc limit 1
) f on e.seq is not null
left join lateral (
    select json_build_object('actor', n.actor, 'reason', n.reason, 'at', extract(epoch from n.at), 'grace_s', convert_from(n.data, 'UTF8'))::text as abort
    from headrace.note n where n.job_id = j.job_id and (n.job_id & 7) = any ($2) and n.kind = 1 order by n.at desc limit 1
) n on e.seq is not null
where j.job_id = any ($1) and (j.job_id & 7) = any ($2)
