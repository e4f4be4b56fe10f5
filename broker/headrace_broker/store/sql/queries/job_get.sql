-- Jobs by id, with where they stand, their newest grant, error, abort and amendments. What was changed wins over what was submitted.
-- $1 job_id bigint[], $2 the retention classes of these ids int[], $3 with payload and result boolean. Indexes: primary keys of the job and event leaves, note (job_id),
-- amendments of the note leaves. Locks: none.
-- Returns a row for each job that is stored; seq and kind 0 where nothing happened yet; at: when it settled or last moved, updates left out; payload_seq: the event that brought
-- its payload, 0: the submission; abort: JSON, see the lateral join.
select j.job_id, j.type_id, coalesce((t.amended ->> 'priority')::int, j.priority) as priority, j.instance_id, nullif(coalesce(t.amended ->> 'content_type', j.content_type), '') as content_type,
       j.idempotency_key, coalesce(t.amended -> 'labels', j.labels)::text as labels, j.trace_context, coalesce(octet_length(coalesce(p.data, j.payload)), 0) as payload_bytes,
       case when e.seq is null then j.available_at else e.available_at end as available_at, coalesce(e.seq, 0) as seq, coalesce(e.kind, 0) as kind, coalesce(e.state, 1) as state,
       coalesce(e.run, 1) as run, coalesce(e.attempt, 0) as attempt, coalesce(e.losses, 0) as losses, coalesce(s.at, e.at) as at, e.delete_minute,
       coalesce(g.seq, 0) as lease_epoch, g.at as started_at, a.name as agent, f.error::text as error,
       j.more ->> 'unique_key' as unique_key, (j.more -> 'depends_on')::text as depends_on, (j.more ->> 'parent_id')::bigint as parent_id, (j.more ->> 'batch_id')::bigint as batch_id,
       n.abort, case when $3 then coalesce(p.data, j.payload) end as payload,
       case when $3 and e.kind = 2 then e.result when $3 and e.kind = 16 and e.state = 3 then s.result end as result,
       j.more::text as more, t.amended::text as amended, coalesce(p.lease_epoch, 0) as payload_seq,
       j.more->>'limit_key' as limit_key, j.more->>'fairness_key' as fairness_key, (j.more->'required_labels')::text as required_labels
from headrace.job j
left join lateral (select * from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = (j.job_id & 7) and (e.job_id & 7) = any ($2) order by e.seq desc limit 1) e on true
left join lateral (
    select s.at, s.result from headrace.event s where e.kind = 16 and s.job_id = j.job_id and (s.job_id & 7) = any ($2) and s.kind <> 16 order by s.seq desc limit 1
) s on true
left join lateral (
    select g.seq, g.at, g.agent_id from headrace.event g where g.job_id = j.job_id and (g.job_id & 7) = any ($2) and g.kind = 1 order by g.seq desc limit 1
) g on e.seq is not null
left join headrace.agent a on a.agent_id = g.agent_id
left join lateral (
    select f.error from headrace.event f where f.job_id = j.job_id and (f.job_id & 7) = any ($2) and f.error is not null and f.run = e.run order by f.seq desc limit 1
) f on e.seq is not null
left join lateral (  -- the newest request, with the newest of each step under the same lease
    select json_build_object('actor', r.actor, 'reason', r.reason, 'at', extract(epoch from r.at), 'epoch', r.lease_epoch, 'asked', case when r.data like '{%' then convert_from(r.data, 'UTF8')::jsonb #- '{requeue,payload}' else convert_from(r.data, 'UTF8')::jsonb end,
        'steps', (select json_object_agg(x.step, json_build_object('at', extract(epoch from x.at), 'actor', x.actor) order by x.at)
                  from (select convert_from(x.data, 'UTF8') as step, x.at, x.actor from headrace.note x
                        where x.job_id = j.job_id and (x.job_id & 7) = any ($2) and x.kind = 6 and x.lease_epoch = r.lease_epoch) x))::text as abort
    from headrace.note r where r.job_id = j.job_id and (r.job_id & 7) = any ($2) and r.kind = 1 order by r.at desc, r.lease_epoch desc limit 1
) n on e.seq is not null
left join lateral (
    select convert_from(t.data, 'UTF8')::jsonb as amended from headrace.note t where t.job_id = j.job_id and (t.job_id & 7) = any ($2) and t.kind = 7
    order by t.lease_epoch desc, t.at desc limit 1
) t on true
left join lateral (
    select p.data, p.lease_epoch from headrace.note p where p.job_id = j.job_id and (p.job_id & 7) = any ($2) and p.kind = 8 order by p.lease_epoch desc, p.at desc limit 1
) p on t.amended is not null
where j.job_id = any ($1) and (j.job_id & 7) = any ($2)
