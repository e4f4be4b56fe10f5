-- The newest 1,000 events and notes of a job, oldest first.
-- $1 job_id bigint, $2 its retention class int. Indexes: primary key of the event leaves, note (job_id). Locks: none.
select * from (
    select e.seq, false as note, e.kind, e.at, e.state, e.run, e.attempt, e.actor, e.reason, a.name as agent, e.available_at, e.error::text as error, null::bytea as data
    from headrace.event e left join headrace.agent a using (agent_id) where e.job_id = $1 and (e.job_id & 7) = $2
    union all
    select n.lease_epoch, true, n.kind, n.at, 0::smallint, g.run, g.attempt, n.actor, n.reason, null, null, null, case when n.kind in (3, 6, 7, 12) then n.data end
    from headrace.note n left join headrace.event g on g.job_id = n.job_id and g.seq = n.lease_epoch and (g.job_id & 7) = $2 where n.job_id = $1 and (n.job_id & 7) = $2
    order by at desc, seq desc limit 1000
) newest order by at, note, seq
