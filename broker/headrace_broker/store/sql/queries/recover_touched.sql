-- Jobs of one range to which something happened at or after a time; and those whose lease was ended by force at or after another one: its agent may go on until the lease is over.
-- These are few among millions of events of a busy half minute, so they are looked for by themselves.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 and $5 those times timestamptz. Indexes: event leaves by time (BRIN), note (job_id). Locks: none.
-- Returns one row: job_ids bigint[], forced bigint[].
select (
    select coalesce(array_agg(distinct job_id), '{}') from headrace.event where (job_id & 7) = $1 and job_id >= $2 and job_id < $3 and at >= $4
) as job_ids, (
    select coalesce(array_agg(distinct job_id), '{}') from headrace.event e
    where (job_id & 7) = $1 and job_id >= $2 and job_id < $3 and at >= $5 and kind = 9 and exists (
        select from headrace.note n where n.job_id = e.job_id and (n.job_id & 7) = $1 and n.lease_epoch = e.seq - 1 and n.kind = 6 and n.data = 'forced'
    )
) as forced
