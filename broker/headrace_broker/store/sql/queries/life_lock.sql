-- Takes the lock of a life for this session, if it is free.
-- $1 key of all lives int, $2 life_id int. Locks: a session advisory lock.
-- Returns locked boolean: whether this session now holds it; backend_pid int, which a transaction pooler changes.
select pg_try_advisory_lock($1::int, $2::int) as locked, pg_backend_pid() as backend_pid
