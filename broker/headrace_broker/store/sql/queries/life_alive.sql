-- Whether a life still owns the shards: what a duty asks before it writes over another connection than the life's own.
-- $1 life_id int. Index: primary key of life. Locks: none.
select exists (select from headrace.life where life_id = $1 and not dead) and exists (select from headrace.shard where life_id = $1)
