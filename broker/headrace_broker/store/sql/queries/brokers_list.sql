-- The brokers that are connected: lives that are not dead and whose lock is held, the oldest first.
-- $1 key of all lives int. Indexes: primary keys of life and peer; looks at all advisory locks. Locks: none.
-- Returns: life_id int, address text, version text, started_at timestamptz, endpoint text, web text, active boolean (whether it owns the queue).
select l.life_id, l.address, l.version, l.started_at, coalesce(p.endpoint, '') as endpoint, coalesce(p.web, '') as web,
    exists (select from headrace.shard s where s.life_id = l.life_id) as active
from pg_locks k join headrace.life l on l.life_id = k.objid::bigint left join headrace.peer p using (life_id)
where k.locktype = 'advisory' and k.classid = $1::int::bigint::oid and k.objsubid = 2 and k.granted and not l.dead
    and k.database = (select oid from pg_database where datname = current_database())
order by l.life_id
