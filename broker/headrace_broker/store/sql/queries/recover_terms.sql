-- The terms that hold for these jobs, those that have any.
-- $1 job_id bigint[] of one retention class, $2 that class int. Index: terms of the note leaves. Locks: none.
-- Returns: job_id bigint, terms text (JSON).
select distinct on (n.job_id) n.job_id, convert_from(n.data, 'UTF8') as terms
from headrace.note n where n.job_id = any ($1) and (n.job_id & 7) = $2 and n.kind = 7
order by n.job_id, n.lease_epoch desc, n.at desc
