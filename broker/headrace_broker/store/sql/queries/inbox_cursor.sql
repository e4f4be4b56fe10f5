-- How far the inbox is taken up by a shard, and whether the rows that are there are of this server: one that was restored from a dump counts its transactions anew.
-- $1 shard int. Index: primary key of inbox_cursor, its end. Locks: none.
-- Returns at most one row: done text, upto text or null (snapshots), last_xid bigint, last_id bigint, foreign boolean.
select done::text, upto::text, last_xid, last_id,
       pg_snapshot_xmax(done) > pg_snapshot_xmax(pg_current_snapshot()) or pg_snapshot_xmax(upto) > pg_snapshot_xmax(pg_current_snapshot()) as foreign
from headrace.inbox_cursor where shard = $1 order by cursor_no desc limit 1
