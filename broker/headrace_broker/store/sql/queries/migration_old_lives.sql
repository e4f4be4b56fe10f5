-- Brokers that live and do not know a migration: their connection holds the lock of their life, or is about to take it.
-- $1 first key of the locks of lives int, $2 number of the migration int. Reads pg_locks, pg_stat_activity (what everybody may see of it). Locks: none.
-- Returns: address text, version text.
select l.address, l.version from headrace.life l
where not l.dead and l.schema < $2 and (exists (
    select from pg_locks k where k.locktype = 'advisory' and k.granted and k.objsubid = 2 and k.classid = $1::int::oid and k.objid = l.life_id::oid
      and k.database = (select oid from pg_database where datname = current_database()))
  or exists (
    select from pg_stat_activity a where a.pid = l.backend_pid and a.datname = current_database() and a.application_name = 'headrace flush'
      and coalesce(a.backend_start, l.backend_start) = l.backend_start))
order by l.life_id
