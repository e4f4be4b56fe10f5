-- Jobs by what was submitted, in a window of ids; with labels also those whose amendments were changed, which search_match looks at.
-- $1 lowest id bigint, $2 id above the highest bigint, $3 type_id int[], $4 instance_id text or null, $5 labels text (JSON) or null, $6 1: oldest first, -1: newest first int, $7 rows int.
-- Indexes: (instance_id, job_id), (type_id, job_id) or the primary key of the job leaves, amendments of the note leaves; planned anew for each call. Locks: none.
-- Both directions are written out: so the rows come in the order of an index, and a window that is full ends early, however wide it is.
-- Returns: job_id bigint.
select c.job_id from (
    (
        select j.job_id from headrace.job j
        where $6 = -1 and j.job_id >= $1 and j.job_id < $2 and j.type_id = any ($3) and ($4::text is null or j.instance_id = $4)
          and ($5::text is null or j.labels @> $5::text::jsonb or j.job_id in (select n.job_id from headrace.note n where n.kind = 7 and n.job_id >= $1 and n.job_id < $2))
        order by j.job_id desc limit $7
    )
    union all
    (
        select j.job_id from headrace.job j
        where $6 = 1 and j.job_id >= $1 and j.job_id < $2 and j.type_id = any ($3) and ($4::text is null or j.instance_id = $4)
          and ($5::text is null or j.labels @> $5::text::jsonb or j.job_id in (select n.job_id from headrace.note n where n.kind = 7 and n.job_id >= $1 and n.job_id < $2))
        order by j.job_id limit $7
    )
) c order by c.job_id * $6::int
