-- The batch of a callback: whether it is sealed, and its members above an id.
-- $1 job_id bigint of the callback, $2 its retention class int, $3 id above which bigint, $4 how many members int.
-- Indexes: edge (child_id, kind, parent_id), note (job_id), primary keys of the job and event leaves. Locks: none.
-- Returns one row: sealed boolean, members bigint[] (ascending), unsettled bigint[] (those that wait or run).
select exists (select from headrace.note n where n.job_id = $1 and (n.job_id & 7) = $2 and n.kind = 4) as sealed,
       coalesce(array_agg(m.parent_id order by m.parent_id), '{}') as members,
       coalesce(array_agg(m.parent_id) filter (where headrace.is_live(m.parent_id)), '{}') as unsettled
from (select parent_id from headrace.edge where child_id = $1 and kind = 3 and parent_id > $3 order by parent_id limit $4::int) m
