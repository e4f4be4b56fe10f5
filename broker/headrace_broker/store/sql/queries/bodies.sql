-- What an agent needs of these jobs, with the newest checkpoint of their present run.
-- $1 job_id bigint[] of one retention class, $2 that class int. Indexes: primary keys of the job and event leaves, note (job_id). Locks: none.
-- Returns: job_id bigint, payload bytea, content_type text, instance_id text, labels text (JSON), trace_context text, more text (JSON), checkpoint bytea.
select j.job_id, j.payload, j.content_type, j.instance_id, j.labels::text as labels, j.trace_context, j.more::text as more, c.data as checkpoint
from headrace.job j
left join lateral (
    select n.data from headrace.note n
    where n.job_id = j.job_id and (n.job_id & 7) = $2 and n.kind = 2
      and n.lease_epoch > coalesce((select max(e.seq) from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = $2 and e.kind = 10), 0)
    order by n.at desc limit 1
) c on true
where j.job_id = any ($1) and (j.job_id & 7) = $2
