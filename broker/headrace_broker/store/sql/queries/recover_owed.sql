-- Endings of the last seconds that their agents may not know of: the lease may go on until its time is over, and counts against limits until then.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 seconds float8. Index: events by time. Locks: none.
-- Returns: type_id int, limit_key text (null: none), n bigint.
select j.type_id, j.more->>'limit_key' as limit_key, count(*) as n
from headrace.event e join headrace.job j on j.job_id = e.job_id and (j.job_id & 7) = $1 and j.job_id >= $2 and j.job_id < $3
where (e.job_id & 7) = $1 and e.job_id >= $2 and e.job_id < $3 and e.at >= now() - make_interval(secs => $4) and e.kind in (4, 5, 9) and e.agent_id is not null
group by j.type_id, j.more->>'limit_key'
