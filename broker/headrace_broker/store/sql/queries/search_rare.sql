-- Jobs that came into error or aborted, in a window of ids.
-- $1 lowest id bigint, $2 id above the highest bigint, $3 type_id int[], $4 states smallint[], $5 1: oldest first, -1: newest first int, $6 rows int.
-- Index: (state, type_id, job_id) where state in (4, 5) of the event leaves. Locks: none.
-- Returns: job_id bigint.
select e.job_id from headrace.event e
where e.job_id >= $1 and e.job_id < $2 and e.state in (4, 5) and e.state = any ($4::smallint[]) and e.type_id = any ($3)
group by e.job_id order by e.job_id * $5::int limit $6
