-- The runs of a job below one, newest first, each with its beginning, its last event but updates, its result, and the payload that it had last.
-- $1 job_id bigint, $2 its retention class int, $3 with payload and result boolean, $4 below this run int, $5 rows int. Indexes: primary keys of the job and event leaves,
-- amendments of the note leaves. Reads the events of the job once. Locks: none.
with last as (
    select distinct on (e.run) e.run, e.seq, e.kind, e.state, e.at, e.attempt, e.losses
    from headrace.event e where e.job_id = $1 and (e.job_id & 7) = $2 and e.run < $4::int and e.kind not in (11, 16)
    order by e.run desc, e.seq desc limit $5
)
select l.run, l.kind, l.state, l.at, l.attempt, l.losses, b.at as began_at, b.actor, b.reason, g.at as started_at, a.name as agent, f.error::text as error,
       coalesce(p.lease_epoch, 0) as payload_seq, octet_length(coalesce(p.data, j.payload)) as payload_bytes, case when $3 then coalesce(p.data, j.payload) end as payload,
       case when $3 then r.result end as result, octet_length(r.result) as result_bytes
from last l
join headrace.job j on j.job_id = $1 and (j.job_id & 7) = $2
left join lateral (select b.at, b.actor, b.reason from headrace.event b where b.job_id = $1 and (b.job_id & 7) = $2 and b.kind = 10 and b.run = l.run order by b.seq limit 1) b on true
left join lateral (select g.at from headrace.event g where g.job_id = $1 and (g.job_id & 7) = $2 and g.kind = 1 and g.run = l.run order by g.seq limit 1) g on true
left join lateral (select g.agent_id from headrace.event g where g.job_id = $1 and (g.job_id & 7) = $2 and g.kind = 1 and g.run = l.run order by g.seq desc limit 1) w on true
left join headrace.agent a on a.agent_id = w.agent_id
left join lateral (select f.error from headrace.event f where f.job_id = $1 and (f.job_id & 7) = $2 and f.run = l.run and f.error is not null order by f.seq desc limit 1) f on true
left join lateral (select r.result from headrace.event r where r.job_id = $1 and (r.job_id & 7) = $2 and r.run = l.run and r.kind = 2 order by r.seq desc limit 1) r on true
left join lateral (
    select p.data, p.lease_epoch from headrace.note p where p.job_id = $1 and (p.job_id & 7) = $2 and p.kind = 8
      and p.lease_epoch <= (select max(u.seq) from headrace.event u where u.job_id = $1 and (u.job_id & 7) = $2 and u.run = l.run)
    order by p.lease_epoch desc, p.at desc limit 1
) p on true
order by l.run
