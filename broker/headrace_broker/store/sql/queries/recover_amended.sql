-- The amended that hold for these jobs, those that have any: as they were changed, and as submitted.
-- The newest note of a lease is the one that was stored last (xmin): the clock may have been set back meanwhile.
-- $1 job_id bigint[] of one retention class, $2 that class int. Indexes: primary key of the job leaves, amendments of the note leaves. Locks: none.
-- Returns: job_id bigint, amended text (JSON), more text (JSON).
select j.job_id, t.amended, j.more::text as more
from unnest($1::bigint[]) as u (job_id)
cross join lateral (select * from headrace.job where job_id = u.job_id and (job_id & 7) = $2 limit 1) j -- each by the index, as in recover_heads
left join lateral (
    select convert_from(n.data, 'UTF8') as amended from headrace.note n where n.job_id = j.job_id and (n.job_id & 7) = $2 and n.kind = 7
    order by n.lease_epoch desc, age(n.xmin), n.at desc limit 1
) t on true
where t.amended is not null or j.more ? 'delete_after_s'
