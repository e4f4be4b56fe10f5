-- How jobs stand that others wait for: their state, and the last run in which they have completed.
-- $1 job_id bigint[] of one retention class, $2 that class int. Indexes: primary keys of the job and event leaves. Locks: none.
-- Returns a row for each job that is stored: job_id bigint, state smallint, completed smallint (0: none).
select j.job_id, coalesce(e.state, 1) as state,
       coalesce((select max(c.run) from headrace.event c where c.job_id = j.job_id and (c.job_id & 7) = $2 and c.kind = 2), 0) as completed
from headrace.job j
left join lateral (select e.state from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = $2 order by e.seq desc limit 1) e on true
where j.job_id = any ($1) and (j.job_id & 7) = $2
