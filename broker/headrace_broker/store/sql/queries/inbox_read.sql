-- The next rows of the inbox that are committed and not taken up, in the order of (xid, inbox_id): those of transactions that the cursor did not see as finished, and that
-- are now. One statement, so one snapshot. Looked up by transaction, never by a range that begins at the oldest one open: that may have been open for hours.
-- $1 done text, $2 upto text or null for now (snapshots), $3 last xid text, $4 last inbox_id bigint, $5 rows int, $6 bytes of payload and spec bigint (the first row always fits),
-- $7 characters of a spec that are read int.
-- Index: inbox_by_xid, primary key of inbox_result. Locks: none.
-- Returns at least one row: upto text, seen bigint (rows before the bytes are looked at), inbox_id bigint or null for none, xid text, kind smallint, domain text, spec text (JSON),
-- payload bytea, job_id bigint, lease_epoch int.
with place as materialized (
    select $1::text::pg_snapshot as done, coalesce($2::text::pg_snapshot, pg_current_snapshot()) as upto, $3::text::xid8 as last_xid, $4::bigint as last_id
), found as materialized (
    select late.* from place p cross join lateral pg_snapshot_xip(p.done) as open (xid) cross join lateral (
        select i.* from headrace.inbox i
        where i.xid = open.xid and (i.xid, i.inbox_id) > (p.last_xid, p.last_id) and pg_visible_in_snapshot(i.xid, p.upto)
          and not exists (select from headrace.inbox_result r where r.inbox_id = i.inbox_id)
        order by i.xid, i.inbox_id limit $5::int
    ) late
    union all
    select fresh.* from place p cross join lateral (
        select i.* from headrace.inbox i
        where i.xid >= pg_snapshot_xmax(p.done) and (i.xid, i.inbox_id) > (p.last_xid, p.last_id) and pg_visible_in_snapshot(i.xid, p.upto)
          and not exists (select from headrace.inbox_result r where r.inbox_id = i.inbox_id)
        order by i.xid, i.inbox_id limit $5::int
    ) fresh
), chosen as (
    select f.*, count(*) over () as seen, sum(f.bytes) over (order by f.xid, f.inbox_id) - f.bytes as before
    from (select *, coalesce(octet_length(payload), 0) + coalesce(pg_column_size(spec), 0) as bytes from found order by xid, inbox_id limit $5::int) f
)
select p.upto::text, coalesce(c.seen, 0) as seen, c.inbox_id, c.xid::text, c.kind, c.domain, left(c.spec::text, $7::int) as spec, c.payload, c.job_id, c.lease_epoch
from place p left join chosen c on c.before < $6::bigint
order by c.xid, c.inbox_id
