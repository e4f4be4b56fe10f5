-- As inbox_read, for one of several shards: of the next rows those that are its own, by the domain of a submission, and by that of the type of a job that was completed. Payloads are
-- read of those alone. A submission whose domain there is not yet may be anybody's. A completion whose event is gone by now is nobody's.
-- $1 done text, $2 upto text or null for now (snapshots), $3 last xid text, $4 last inbox_id bigint, $5 rows int, $6 bytes of payload and spec bigint (the first row always
-- fits), $7 characters of a spec that are read int, $8 rows to look at int, $9 shard int, $10 of how many int.
-- Indexes: inbox_by_xid, primary keys of inbox, inbox_result, job_type and the event leaves, domain by name. Locks: none.
-- The inner limits are told in a way that the planner does not see: it takes them for few rows, and reads in the order of the index instead of sorting all there are.
-- Returns as inbox_read, with looked bigint (rows of any shard that were looked at), last_xid text and last_id bigint (the last of these).
with place as materialized (
    select $1::text::pg_snapshot as done, coalesce($2::text::pg_snapshot, pg_current_snapshot()) as upto, $3::text::xid8 as last_xid, $4::bigint as last_id
), looked as materialized (
    select f.* from (
        select late.* from place p cross join lateral pg_snapshot_xip(p.done) as open (xid) cross join lateral (
            select i.xid, i.inbox_id, i.kind, i.domain, i.job_id, i.lease_epoch from headrace.inbox i
            where i.xid = open.xid and (i.xid, i.inbox_id) > (p.last_xid, p.last_id) and pg_visible_in_snapshot(i.xid, p.upto)
            order by i.xid, i.inbox_id limit (select $8::int)
        ) late
        union all
        select fresh.* from place p cross join lateral (
            select i.xid, i.inbox_id, i.kind, i.domain, i.job_id, i.lease_epoch from headrace.inbox i
            where i.xid >= pg_snapshot_xmax(p.done) and (i.xid, i.inbox_id) > (p.last_xid, p.last_id) and pg_visible_in_snapshot(i.xid, p.upto)
            order by i.xid, i.inbox_id limit (select $8::int)
        ) fresh
    ) f order by f.xid, f.inbox_id limit $8::int
), own as materialized (
    select l.* from looked l
    left join headrace.domain d on d.name = l.domain
    left join lateral (
        select t.domain_id from headrace.event e join headrace.job_type t on t.type_id = e.type_id
        where e.job_id = l.job_id and (e.job_id & 7) = (l.job_id & 7) and e.seq = l.lease_epoch::bigint + 1 limit 1
    ) c on l.kind = 2
    where (coalesce(d.domain_id, c.domain_id) % $10::int = $9::int or (l.kind = 1 and d.domain_id is null))
      and not exists (select from headrace.inbox_result r where r.inbox_id = l.inbox_id)
    order by l.xid, l.inbox_id limit $5::int
), chosen as (
    select o.*, i.spec, i.payload, count(*) over () as seen, sum(i.bytes) over (order by o.xid, o.inbox_id) - i.bytes as before
    from own o cross join lateral (
        select n.spec, n.payload, coalesce(octet_length(n.payload), 0) + coalesce(pg_column_size(n.spec), 0) as bytes from headrace.inbox n where n.inbox_id = o.inbox_id limit 1
    ) i
)
select p.upto::text, coalesce(c.seen, 0) as seen, c.inbox_id, c.xid::text, c.kind, c.domain, left(c.spec::text, $7::int) as spec, c.payload, c.job_id, c.lease_epoch,
    (select count(*) from looked) as looked, z.xid::text as last_xid, z.inbox_id as last_id
from place p left join lateral (select l.xid, l.inbox_id from looked l order by l.xid desc, l.inbox_id desc limit 1) z on true
left join chosen c on c.before < $6::bigint
order by c.xid, c.inbox_id
