-- Whether a life still owns its shard: what a duty asks before it writes over another connection than the life's own.
-- $1 life_id int. Indexes: primary keys of life and shard. Locks: none.
select exists (select from headrace.life l join headrace.shard s on s.shard = l.shard and s.life_id = l.life_id where l.life_id = $1 and not l.dead)
