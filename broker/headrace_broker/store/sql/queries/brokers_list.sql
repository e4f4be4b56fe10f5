-- The lives of the brokers that are connected, the oldest first: those that are not dead and whose lock is held. A broker has one for each shard.
-- $1 key of all lives int. Indexes: primary keys of life, shard and peer; looks at all advisory locks. Locks: none.
-- Returns: broker text (empty: it does not say so), life_id int, address text, version text, started_at timestamptz, endpoint text, web text, owned smallint (the shard that
-- it owns; null: it stands by).
select l.broker, l.life_id, l.address, l.version, l.started_at, coalesce(p.endpoint, '') as endpoint, coalesce(p.web, '') as web, s.shard as owned
from pg_locks k
join headrace.life l on l.life_id = k.objid::bigint
left join headrace.peer p using (life_id)
left join headrace.shard s on s.shard = l.shard and s.life_id = l.life_id
where k.locktype = 'advisory' and k.classid = $1::int::bigint::oid and k.objsubid = 2 and k.granted and not l.dead
    and k.database = (select oid from pg_database where datname = current_database())
order by l.life_id
