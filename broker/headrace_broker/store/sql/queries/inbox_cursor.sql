-- How far the inbox is taken up by a shard, and whether the rows that are there are of this server: one that was restored from a dump counts its transactions anew.
-- The cursor may be older than the rows, and then says nothing of it: it is stored when something is taken up.
-- $1 shard int. Indexes: primary key of inbox_cursor and inbox_by_xid, their ends. Locks: none.
-- Returns at most one row: done text, upto text or null (snapshots), last_xid bigint, last_id bigint, foreign boolean.
select done::text, upto::text, last_xid, last_id,
       pg_snapshot_xmax(done) > pg_snapshot_xmax(pg_current_snapshot()) or pg_snapshot_xmax(upto) > pg_snapshot_xmax(pg_current_snapshot())
       or exists (select from headrace.inbox where xid >= pg_snapshot_xmax(pg_current_snapshot())) as foreign
from headrace.inbox_cursor where shard = $1 order by cursor_no desc limit 1
