-- Jobs that came into one of these settled states, maybe within a time, in a window of ids.
-- $1 lowest id bigint, $2 id above the highest bigint, $3 type_id int[], $4 states smallint[], $5 from timestamptz or null, $6 before timestamptz or null,
-- $7 1: oldest first, -1: newest first int, $8 rows int.
-- Index: primary key of the event leaves, or events by time (BRIN); planned anew for each call. Locks: none.
-- Both directions are written out: so the rows come in the order of an index, and a window that is full ends early, however wide it is.
-- Returns: job_id bigint.
select c.job_id from (
    (
        select e.job_id from headrace.event e
        where $7 = -1 and e.job_id >= $1 and e.job_id < $2 and e.type_id = any ($3) and e.state = any ($4::smallint[]) and e.kind <> 16
          and ($5::timestamptz is null or e.at >= $5) and ($6::timestamptz is null or e.at < $6)
        group by e.job_id order by e.job_id desc limit $8
    )
    union all
    (
        select e.job_id from headrace.event e
        where $7 = 1 and e.job_id >= $1 and e.job_id < $2 and e.type_id = any ($3) and e.state = any ($4::smallint[]) and e.kind <> 16
          and ($5::timestamptz is null or e.at >= $5) and ($6::timestamptz is null or e.at < $6)
        group by e.job_id order by e.job_id limit $8
    )
) c order by c.job_id * $7::int
