-- Jobs of one range whose lease was ended by force at or after a time: its agent may go on until the lease is over. They are few among millions of events of a busy half
-- minute, so they are looked for among those that were aborted.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 that time timestamptz. Indexes: event leaves by time (BRIN) and by state, note (job_id). Locks: none.
-- Returns: job_id bigint.
select e.job_id from headrace.event e
where (e.job_id & 7) = $1 and e.job_id >= $2 and e.job_id < $3 and e.at >= $4 and e.kind = 9 and e.state = 5 and exists (
    select from headrace.note n where n.job_id = e.job_id and (n.job_id & 7) = $1 and n.lease_epoch = e.seq - 1 and n.kind = 6 and n.data = 'forced'
)
