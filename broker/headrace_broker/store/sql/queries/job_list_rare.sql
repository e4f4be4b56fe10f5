-- Ids of jobs of these types that ended in error or aborted at some time, newest first; the caller looks where they stand now.
-- $1 type_id int[], $2 lowest id bigint, $3 below this id bigint, $4 states smallint[], $5 instance_id text or null, $6 rows int.
-- Index: (state, type_id, job_id) where state in (4, 5) of the event leaves. Locks: none.
select distinct e.job_id from headrace.event e
where e.state in (4, 5) and e.state = any ($4::smallint[]) and e.type_id = any ($1) and e.job_id >= $2 and e.job_id < $3
  and ($5::text is null or exists (select from headrace.job j where j.job_id = e.job_id and (j.job_id & 7) = (e.job_id & 7) and j.instance_id = $5))
order by e.job_id desc limit $6
