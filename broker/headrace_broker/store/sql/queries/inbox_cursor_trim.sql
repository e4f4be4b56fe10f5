-- Deletes cursors that newer ones have replaced.
-- $1 rows int. Index: primary key of inbox_cursor. Locks: the rows. Returns one row: deleted bigint.
with gone as (
    delete from headrace.inbox_cursor c
    where c.cursor_no in (select cursor_no from headrace.inbox_cursor where cursor_no < (select max(cursor_no) from headrace.inbox_cursor) order by cursor_no limit $1::int)
    returning 1
)
select count(*) as deleted from gone
