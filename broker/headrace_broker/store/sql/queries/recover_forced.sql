-- Jobs of one range whose lease was ended by force and may not be over yet: its agent may go on until it is. They are few among millions of events of a busy half minute, so
-- they are looked for among those that an agent had and that were aborted, within the last hour: no lease is longer.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 now timestamptz, $5 how long leases are now, in seconds float8.
-- Indexes: event leaves by time (BRIN) and by state, primary key; note (job_id). Locks: none.
-- Returns: job_id bigint, lease_s float8 (how long that lease was, $5 at least).
select e.job_id, l.lease_s
from headrace.event e cross join lateral (
    select greatest($5::float8, max(g.lease_s)::float8) as lease_s from headrace.event g where g.job_id = e.job_id and (g.job_id & 7) = $1 and g.seq < e.seq
) l
where (e.job_id & 7) = $1 and e.job_id >= $2 and e.job_id < $3 and e.at >= $4::timestamptz - interval '1 hour' and e.kind = 9 and e.state = 5 and e.agent_id is not null
    and e.at >= $4::timestamptz - make_interval(secs => l.lease_s)
    and exists (
        select from headrace.note n where n.job_id = e.job_id and (n.job_id & 7) = $1 and n.lease_epoch = e.seq - 1 and n.kind = 6 and n.data = 'forced'
    )
