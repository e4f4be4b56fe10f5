-- How far each shard has taken the inbox up, as far as it is stored. No parameters. Indexes: primary keys. Locks: none.
-- Returns done text (snapshot) for each shard; one that is of another server says nothing.
select coalesce((select case when pg_snapshot_xmax(c.done) > pg_snapshot_xmax(pg_current_snapshot()) then '1:1:' else c.done::text end from headrace.inbox_cursor c where c.shard = s.shard order by c.cursor_no desc limit 1), '1:1:') as done from headrace.shard s
