-- Ends a grant, once.
-- $1 grant_id int, $2 who text. Index: primary key. Locks: the new row; waits for an uncommitted twin. Returns: ended_at timestamptz, ended_by text; no row: it had ended.
insert into headrace.access_grant_end (grant_id, ended_by) values ($1, $2) on conflict (grant_id) do nothing returning ended_at, ended_by
