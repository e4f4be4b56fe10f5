-- The shards, each with how many domains lie in it and who owns it.
-- $1 key of all lives int. Reads the domains, which are few; looks at all advisory locks. Locks: none.
-- Returns: shard smallint, domains bigint, address text, since timestamptz (both null: nobody that lives owns it).
select s.shard, (select count(*) from headrace.domain d where d.domain_id % (select count(*) from headrace.shard) = s.shard) as domains, l.address, l.started_at as since
from headrace.shard s
left join headrace.life l on l.life_id = s.life_id and not l.dead and exists (
    select from pg_locks k where k.locktype = 'advisory' and k.granted and k.objsubid = 2 and k.classid = $1::int::oid and k.objid = l.life_id::oid
      and k.database = (select oid from pg_database where datname = current_database()))
order by s.shard
