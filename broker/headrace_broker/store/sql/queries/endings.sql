-- How these leases ended: the event right after each grant, or the late outcome that followed the loss.
-- $1 job_id bigint[], $2 lease_epoch int[], of one retention class, $3 that class int. Indexes: primary key of the event leaves, note (job_id). Locks: none.
-- Returns a row for each lease that was ever granted: job_id bigint, lease_epoch int, kind smallint of the ending (0: none), abort_requested boolean (of this lease, which then ended as its agent said and not by force),
-- agent_id int (whose lease it was).
select g.job_id, g.seq as lease_epoch, coalesce(late.kind, e.kind, 0) as kind,
       exists (select from headrace.note n where n.job_id = g.job_id and (n.job_id & 7) = $3 and n.lease_epoch = g.seq and n.kind = 1)
           and not exists (select from headrace.note n where n.job_id = g.job_id and (n.job_id & 7) = $3 and n.lease_epoch = g.seq and n.kind = 6 and n.data = 'forced') as abort_requested, g.agent_id
from unnest($1::bigint[], $2::int[]) as u (job_id, lease_epoch)
join headrace.event g on g.job_id = u.job_id and g.seq = u.lease_epoch and (g.job_id & 7) = $3 and g.kind = 1
left join headrace.event e on e.job_id = u.job_id and e.seq = u.lease_epoch + 1 and (e.job_id & 7) = $3
left join headrace.event late on e.kind in (5, 8) and late.kind = 2 and late.job_id = u.job_id and late.seq = u.lease_epoch + 2 and (late.job_id & 7) = $3
