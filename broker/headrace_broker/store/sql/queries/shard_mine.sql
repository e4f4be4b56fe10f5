-- Whether a life owns its shard.
-- $1 life_id int, $2 shard int. Index: primary key. Locks: none.
select life_id is not distinct from $1 from headrace.shard where shard = $2
