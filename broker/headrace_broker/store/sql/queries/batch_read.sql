-- The batch of a callback: whether it is sealed, and its members.
-- $1 job_id bigint of the callback, $2 its retention class int. Indexes: edge (child_id, kind, parent_id), note (job_id), primary keys of the job and event leaves. Locks: none.
-- Returns one row: sealed boolean, members bigint[], unsettled bigint[] (those that wait or run).
select exists (select from headrace.note n where n.job_id = $1 and (n.job_id & 7) = $2 and n.kind = 4) as sealed,
       coalesce(array_agg(m.parent_id), '{}') as members, coalesce(array_agg(m.parent_id) filter (where headrace.is_live(m.parent_id)), '{}') as unsettled
from headrace.edge m where m.child_id = $1 and m.kind = 3
