-- Forgets lives that began before a time, have ended and that nothing needs any more: they own no shard, no flush of theirs is kept, no checkpoint names them, and their counts were
-- taken over (count_absorb) or never were.
-- $1 key of all lives int, $2 age in seconds float8, $3 rows int. Indexes: primary keys of life, count_base, peer and of the flush slots; small tables.
-- Locks: the lives' advisory locks, of those that are free, and their rows here and in count_base and peer.
-- Returns one row: gone bigint.
with old as materialized (
    select l.life_id from headrace.life l left join headrace.count_base b using (life_id)
    where l.started_at < now() - make_interval(secs => $2::float8) and (b.life_id is null or (b.max_id = 0 and b.count_value = '{}'))
      and not exists (select from headrace.shard s where s.life_id = l.life_id)
      and not exists (select from headrace.checkpoint c where c.life_id = l.life_id)
      and not exists (select from headrace.flush f where f.life_id = l.life_id)
    order by l.life_id limit $3
), ended as materialized (
    select life_id from old where pg_try_advisory_xact_lock($1::int, life_id)
), peers as (
    delete from headrace.peer p using ended e where p.life_id = e.life_id
), bases as (
    delete from headrace.count_base b using ended e where b.life_id = e.life_id
), gone as (
    delete from headrace.life l using ended e where l.life_id = e.life_id returning l.life_id
)
select count(*) as gone from gone
