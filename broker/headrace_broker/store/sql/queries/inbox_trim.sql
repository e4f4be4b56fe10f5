-- Deletes rows of the inbox that every shard has taken up; those whose job was refused stay as long as their result.
-- $1 done text[] (snapshots, of each shard), $2 xid text and $3 inbox_id bigint after which to look, $4 rows int. Index: inbox_by_xid. Locks: the rows.
-- Returns one row: looked bigint (rows looked at), deleted bigint, xid text and inbox_id bigint of the last one looked at.
with looked as materialized (
    select i.inbox_id, i.xid, i.kind from headrace.inbox i
    where (i.xid, i.inbox_id) > ($2::text::xid8, $3::bigint) and not exists (select from unnest($1::text[]) as d (done) where not pg_visible_in_snapshot(i.xid, d.done::pg_snapshot))
    order by i.xid, i.inbox_id limit $4::int
), gone as (
    delete from headrace.inbox i using looked l
    where i.inbox_id = l.inbox_id and not exists (select from headrace.inbox_result r where r.inbox_id = l.inbox_id and r.reason is not null)
    returning i.inbox_id
)
select (select count(*) from looked) as looked, (select count(*) from gone) as deleted, l.xid::text, l.inbox_id
from (values (1)) one left join lateral (select xid, inbox_id from looked order by xid desc, inbox_id desc limit 1) l on true
