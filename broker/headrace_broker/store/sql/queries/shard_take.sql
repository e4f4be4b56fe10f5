-- Takes the shard of a dead life, or with 0 one that never had an owner.
-- $1 the dead life_id int, $2 own life_id int, $3 shard int. Index: primary key. Locks: the row of the shard.
update headrace.shard set life_id = $2 where shard = $3 and life_id is not distinct from nullif($1, 0)
