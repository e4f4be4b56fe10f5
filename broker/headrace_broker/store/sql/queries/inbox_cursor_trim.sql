-- Deletes cursors that newer ones of the same shard have replaced.
-- $1 rows int. Index: primary key of inbox_cursor. Locks: the rows. Returns one row: deleted bigint.
with gone as (
    delete from headrace.inbox_cursor c
    where c.cursor_no in (select o.cursor_no from headrace.inbox_cursor o where exists (select from headrace.inbox_cursor n where n.shard = o.shard and n.cursor_no > o.cursor_no) order by o.cursor_no limit $1::int)
    returning 1
)
select count(*) as deleted from gone
