-- $1 key int. Returns whether this session now holds the advisory lock of index builds.
select pg_try_advisory_lock($1::int, 0)
