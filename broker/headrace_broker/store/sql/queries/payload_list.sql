-- The versions of a job's payload, newest first: that of the submission is 0, the others are the events that brought them.
-- $1 job_id bigint, $2 its retention class int, $3 only this version int (with its payload), or null: all below $4 int, at most $5 int.
-- Indexes: primary key of the job leaves, amendments of the note leaves. Locks: none.
-- Returns: version int, at timestamptz (null: with the submission), actor text, content_type text, payload_bytes int, payload bytea (null unless it was asked for).
select v.version, v.at, v.actor, v.content_type, coalesce(octet_length(v.payload), 0) as payload_bytes, case when $3::int is not null then coalesce(v.payload, ''::bytea) end as payload
from (
    select 0 as version, null::timestamptz as at, null::text as actor, j.content_type, j.payload from headrace.job j where j.job_id = $1 and (j.job_id & 7) = $2
    union all
    select p.lease_epoch, p.at, p.actor,
           (select convert_from(t.data, 'UTF8')::jsonb ->> 'content_type' from headrace.note t
            where t.job_id = $1 and (t.job_id & 7) = $2 and t.kind = 7 and t.lease_epoch = p.lease_epoch order by t.at desc limit 1),
           p.data
    from headrace.note p where p.job_id = $1 and (p.job_id & 7) = $2 and p.kind = 8
) v
where ($3::int is null or v.version = $3) and v.version < $4 order by v.version desc limit $5
