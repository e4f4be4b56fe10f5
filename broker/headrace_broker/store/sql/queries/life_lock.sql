-- Takes the lock of a life for this session, if it is free.
-- $1 key of all lives int, $2 life_id int. Locks: a session advisory lock.
-- Returns whether this session now holds it.
select pg_try_advisory_lock($1::int, $2::int)
