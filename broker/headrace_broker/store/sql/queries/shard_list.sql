-- All shards: their domains, and who owns them.
-- $1 key of all lives int. Small tables; looks at all advisory locks. Locks: none.
-- Returns: shard smallint, domains text[], address text (empty: nobody owns it), since timestamptz (of the owner's life) or null.
select s.shard, array(select d.name from headrace.domain d where d.domain_id % n.shards = s.shard order by d.name) as domains, coalesce(o.address, '') as address,
    o.started_at as since
from (select count(*)::int as shards from headrace.shard) n cross join headrace.shard s
left join lateral (
    select l.address, l.started_at from headrace.life l
    where l.life_id = s.life_id and not l.dead and exists (
        select from pg_locks k where k.locktype = 'advisory' and k.classid = $1::int::bigint::oid and k.objid::bigint = l.life_id and k.objsubid = 2 and k.granted
            and k.database = (select oid from pg_database where datname = current_database()))
) o on true
order by s.shard
