-- Whether a life owns all shards.
-- $1 life_id int. Locks: none.
select bool_and(life_id is not distinct from $1) from headrace.shard
