-- Jobs with an attempt that failed with an error of this fingerprint, in a window of ids.
-- $1 lowest id bigint, $2 id above the highest bigint, $3 type_id int[], $4 fingerprint text, $5 1: oldest first, -1: newest first int, $6 rows int.
-- Index: (fingerprint, job_id) where there is an error, of the event leaves. Locks: none.
-- Both directions are written out: so the rows come in the order of the index, and a window that is full ends early, however wide it is.
-- Returns: job_id bigint.
select c.job_id from (
    (
        select e.job_id from headrace.event e
        where $5 = -1 and e.job_id >= $1 and e.job_id < $2 and e.error is not null and e.error ->> 'fingerprint' = $4 and e.type_id = any ($3)
        group by e.job_id order by e.job_id desc limit $6
    )
    union all
    (
        select e.job_id from headrace.event e
        where $5 = 1 and e.job_id >= $1 and e.job_id < $2 and e.error is not null and e.error ->> 'fingerprint' = $4 and e.type_id = any ($3)
        group by e.job_id order by e.job_id limit $6
    )
) c order by c.job_id * $5::int
