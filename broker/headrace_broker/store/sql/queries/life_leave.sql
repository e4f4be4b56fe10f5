-- A life ends by itself: its flushes store nothing from now on, its lock is free, and brokers that stand by are woken. They take its shards as those of any dead life.
-- $1 key of all lives int, $2 life_id int. Index: primary key of life. Locks: the life's row.
with ended as (update headrace.life set dead = true where life_id = $2 returning life_id)
select pg_notify('headrace_life', ''), pg_advisory_unlock($1::int, life_id) from ended
