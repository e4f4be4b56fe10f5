-- When a flush was stored, if it was.
-- $1 life_id int, $2 n bigint. Index: primary key of the flush slots. Locks: none.
-- Returns at most one row: at timestamptz.
select at from headrace.flush where life_id = $1 and n = $2
