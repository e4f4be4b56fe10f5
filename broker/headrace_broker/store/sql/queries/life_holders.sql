-- The other life that owns a shard, with how many flushes each has stored, and how they are reached.
-- $1 own life_id int, $2 shard int. Indexes: primary keys of shard, life, peer and of the flush slots. Locks: none.
-- Returns: life_id int, address text, flushes bigint, host text, endpoint text, web text, key bytea, certificate text (null: no row of peer); life_id 0 stands for a shard
-- that never had an owner.
select coalesce(s.life_id, 0) as life_id, coalesce(l.address, '') as address, coalesce((select max(n) from headrace.flush f where f.life_id = s.life_id), 0) as flushes,
    p.host, p.endpoint, p.web, p.key, p.certificate
from headrace.shard s left join headrace.life l using (life_id) left join headrace.peer p using (life_id)
where s.shard = $2 and s.life_id is distinct from $1
