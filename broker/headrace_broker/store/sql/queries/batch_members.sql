-- Members of a batch above an id, with where they stand.
-- $1 job_id bigint of the callback, $2 id above which bigint, $3 rows int. Indexes: edge (child_id, kind, parent_id), primary key of the event leaves. Locks: none.
-- Returns: job_id bigint, state smallint (6 where the job is gone), ascending.
select m.parent_id as job_id, case when j.job_id is null then 6 else coalesce(e.state, 1) end as state
from (select parent_id from headrace.edge where child_id = $1 and kind = 3 and parent_id > $2 order by parent_id limit $3) m
left join headrace.job j on j.job_id = m.parent_id and (j.job_id & 7) = (m.parent_id & 7)
left join lateral (select e.state from headrace.event e where e.job_id = m.parent_id and (e.job_id & 7) = (m.parent_id & 7) order by e.seq desc limit 1) e on true
order by m.parent_id
