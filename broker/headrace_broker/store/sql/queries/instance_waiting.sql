-- The next jobs of an instance and whether they wait.
-- $1 instance_id text, $2 above this id bigint, $3 rows int.
-- Indexes: (instance_id, job_id) of the job leaves, primary key of the event leaves. Locks: none.
-- Returns: job_id bigint, type_id int, priority int, more text (JSON), state smallint; in the order of the ids.
select j.job_id, j.type_id, j.priority, j.more::text as more, coalesce(e.state, 1::smallint) as state
from (select job_id, type_id, priority, more from headrace.job where instance_id = $1 and job_id > $2 order by job_id limit $3) j
left join lateral (
    select e.state from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = (j.job_id & 7) order by e.seq desc limit 1
) e on true
order by j.job_id
