-- What lives now: lives that are not dead and whose lock is held, by shard and broker.
-- $1 key of all lives int, $2 how long a broker may be silent before it counts as asleep, in seconds float8. Indexes: primary keys of life, shard and broker_beat; looks at
-- all advisory locks. Locks: none. Returns: shard smallint, broker text, owns boolean, awake boolean (and not to be spared this shard).
select l.shard, l.broker, s.shard is not null as owns, coalesce(b.beat_at > clock_timestamp() - make_interval(secs => $2) and l.shard <> all (b.avoids), false) as awake
from pg_locks k
join headrace.life l on l.life_id = k.objid::bigint
left join headrace.shard s on s.shard = l.shard and s.life_id = l.life_id
left join headrace.broker_beat b on b.broker = l.broker
where k.locktype = 'advisory' and k.classid = $1::int::bigint::oid and k.objsubid = 2 and k.granted and not l.dead
    and k.database = (select oid from pg_database where datname = current_database())
