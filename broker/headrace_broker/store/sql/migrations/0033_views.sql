-- The views for people say what the calls say.

-- As before; a job to which something has happened may start when its newest event says: the time with which it was submitted counts no more once it was requeued, or replaced. And the
-- error of one that has not completed is the newest of its run, whatever has happened since: an update has none of its own.
create or replace view headrace.job_state as
select j.job_id, d.name as domain, t.name as type, j.instance_id,
       case when e.state is null then 'waiting'
            when e.delete_minute * 60.0 <= extract(epoch from now()) then 'gone'
            else (array['waiting', 'processing', 'completed', 'error', 'aborted', 'gone'])[e.state] end as state,
       coalesce(e.seq, 0) as seq, coalesce(e.run, 1) as run, coalesce(e.attempt, 0) as attempt, coalesce(e.losses, 0) as losses,
       coalesce((n.amended ->> 'priority')::int, j.priority) as priority, headrace.created_at(j.job_id) as created_at,
       case when e.seq is null then j.available_at else e.available_at end as available_at,
       case when e.state > 2 then coalesce(s.at, e.at) end as settled_at, to_timestamp(e.delete_minute * 60.0) as delete_at, f.error,
       coalesce((n.amended ->> 'hold')::boolean, false) as hold
from headrace.job j
join headrace.job_type t using (type_id)
join headrace.domain d using (domain_id)
left join lateral (select * from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = (j.job_id & 7) order by e.seq desc limit 1) e on true
left join lateral (
    select s.at from headrace.event s where e.kind = 16 and s.job_id = j.job_id and (s.job_id & 7) = (j.job_id & 7) and s.kind <> 16 order by s.seq desc limit 1
) s on true
left join lateral (
    select f.error from headrace.event f where f.job_id = j.job_id and (f.job_id & 7) = (j.job_id & 7) and f.error is not null and f.run = e.run order by f.seq desc limit 1
) f on e.state <> 3
left join lateral (
    select convert_from(n.data, 'UTF8')::jsonb as amended from headrace.note n where n.job_id = j.job_id and (n.job_id & 7) = (j.job_id & 7) and n.kind = 7
    order by n.lease_epoch desc, n.at desc limit 1
) n on true;

-- As before, with those that are prepared for a two-phase commit: they have no backend, and hold the lock of their job for as long as nobody ends them. Locks of one transaction are
-- known by its virtual number; that of its own number, which they all have, says which it is.
create or replace view headrace.open_door as
select (l.classid::bigint << 32 | l.objid::bigint) as job_id, l.pid, a.xact_start, a.application_name, a.state, extract(epoch from clock_timestamp() - a.xact_start)::float8 as open_s
from pg_locks l join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.database = (select oid from pg_database where datname = current_database())
  and a.application_name <> 'headrace flush'
union all
select (l.classid::bigint << 32 | l.objid::bigint), null, p.prepared, 'prepared transaction ' || p.gid, 'prepared', extract(epoch from clock_timestamp() - p.prepared)::float8
from pg_prepared_xacts p join pg_locks o on o.locktype = 'transactionid' and o.transactionid = p.transaction and o.granted
join pg_locks l on l.virtualtransaction = o.virtualtransaction and l.pid is null
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and p.database = current_database();
