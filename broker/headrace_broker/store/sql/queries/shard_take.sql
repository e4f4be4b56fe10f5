-- Takes the shards of a dead life, or with 0 those that never had an owner.
-- $1 the dead life_id int, $2 own life_id int. Locks: the rows of those shards.
update headrace.shard set life_id = $2 where life_id is not distinct from nullif($1, 0)
