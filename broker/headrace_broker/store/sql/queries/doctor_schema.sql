-- What a broker wants to know of a schema that is there: who uses it, whether this user may run a broker, how far partitions reach.
-- $1 first key of the locks of lives int. Reads the catalogue and small tables. Locks: none.
-- Returns one row: missing_rights text[], brokers text[], reach bigint[] (of each class with ranges: the id at which its newest range ends).
select array_remove(array[
           case when not has_schema_privilege('headrace', 'create') then 'create in the schema headrace' end,
           case when not (select pg_has_role(relowner, 'usage') from pg_class where oid = 'headrace.job'::regclass) then 'own headrace.job, or be a member of its owner' end,
           case when not has_table_privilege('headrace.life', 'insert, update') then 'write headrace.life' end,
           case when not has_table_privilege('headrace.audit', 'insert') then 'write headrace.audit' end,
           case when not has_database_privilege(current_database(), 'temporary') then 'make temporary tables' end
       ], null) as missing_rights,
       array(select l.address || ' (headrace ' || l.version || ')' from headrace.life l where not l.dead and exists (
           select from pg_locks k where k.locktype = 'advisory' and k.granted and k.objsubid = 2 and k.classid = $1::int::oid and k.objid = l.life_id::oid
             and k.database = (select oid from pg_database where datname = current_database())) order by l.life_id) as brokers,
       array(select max(hi) from headrace.fact_range group by class order by class) as reach
