-- Whether a life has ended: it is dead, or its lock is free.
-- $1 key of all lives int, $2 life_id int. Index: primary key of life. Locks: for a moment a session advisory lock, if it is free.
select case when dead then true when pg_try_advisory_lock($1::int, $2::int) then pg_advisory_unlock($1::int, $2::int) else false end from headrace.life where life_id = $2
