-- What an agent needs of these jobs, with the newest checkpoint of their present run. A payload, content type or labels that were changed win over those submitted.
-- The newest note of a lease is the one that was stored last (xmin): the clock may have been set back meanwhile.
-- $1 job_id bigint[] of one retention class, $2 that class int. Indexes: primary keys of the job and event leaves, note (job_id), amendments of the note leaves. Locks: none.
-- Returns: job_id bigint, payload bytea, content_type text, instance_id text, labels text (JSON), trace_context text, more text (JSON), checkpoint bytea, amended text (JSON).
select j.job_id, coalesce(p.data, j.payload) as payload, nullif(coalesce(t.amended ->> 'content_type', j.content_type), '') as content_type, j.instance_id,
       coalesce(t.amended -> 'labels', j.labels)::text as labels, j.trace_context, j.more::text as more, c.data as checkpoint, t.amended::text as amended
from headrace.job j
left join lateral (
    select n.data from headrace.note n
    where n.job_id = j.job_id and (n.job_id & 7) = $2 and n.kind = 2
      and n.lease_epoch > coalesce((select max(e.seq) from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = $2 and e.kind = 10), 0)
    order by n.lease_epoch desc, age(n.xmin), n.at desc limit 1
) c on true
left join lateral (
    select convert_from(n.data, 'UTF8')::jsonb as amended from headrace.note n where n.job_id = j.job_id and (n.job_id & 7) = $2 and n.kind = 7
    order by n.lease_epoch desc, age(n.xmin), n.at desc limit 1
) t on true
left join lateral (
    select n.data from headrace.note n where n.job_id = j.job_id and (n.job_id & 7) = $2 and n.kind = 8 order by n.lease_epoch desc, n.at desc limit 1
) p on t.amended is not null
where j.job_id = any ($1) and (j.job_id & 7) = $2
