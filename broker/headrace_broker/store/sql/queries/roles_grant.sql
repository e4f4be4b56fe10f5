-- Gives each role what it needs in this database, and takes from everybody else what they do not. Run after every migration. Safe to repeat.
--
-- headrace_owner owns the schema and what is in it. headrace_broker owns the partitioned tables that the broker keeps up while it runs, since only the owner of a table may attach,
-- detach, truncate and index its partitions, the last three outside a transaction, where no function can lend its rights: facts with their leaves, flush rows, chunks of
-- checkpoints. Of the other tables it may change rows; the audit and the grants of access it may only add to. headrace_owner is a member of headrace_broker, so migrations may change the facts too.
-- headrace_reader may read the views. headrace_door may call the SQL doors, which act with their owner's rights.
-- No parameters. Locks: what changes its owner, exclusively; nothing when all is as it should be.
do $$
declare
    item record;
begin
    if (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'headrace') <> 'headrace_owner' then
        alter schema headrace owner to headrace_owner;
    end if;
    grant usage, create on schema headrace to headrace_broker;
    grant usage on schema headrace to headrace_reader, headrace_door;
    for item in
        select c.oid::regclass as name, w.wanted from pg_class c
        cross join lateral (select case when c.relname ~ '^(job|event|note|log_line|flush|checkpoint_chunk)(_[0-9].*)?$' then 'headrace_broker' else 'headrace_owner' end) w (wanted)
        where c.relnamespace = 'headrace'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S') and pg_get_userbyid(c.relowner) <> w.wanted
          and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i', 'e') and c.relkind = 'S')
        order by c.oid
    loop
        execute format('alter table %s owner to %I', item.name, item.wanted);
    end loop;
    for item in
        select p.oid::regprocedure as name from pg_proc p where p.pronamespace = 'headrace'::regnamespace
          and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
    loop
        if (select pg_get_userbyid(proowner) from pg_proc where oid = item.name) <> 'headrace_owner' then
            execute format('alter function %s owner to headrace_owner', item.name);
        end if;
        execute format('revoke execute on function %s from public', item.name);
        execute format('grant execute on function %s to headrace_broker', item.name);
    end loop;
    for item in
        select t.typname as name from pg_type t where t.typnamespace = 'headrace'::regnamespace and t.typtype = 'd' and pg_get_userbyid(t.typowner) <> 'headrace_owner'
    loop
        execute format('alter domain headrace.%I owner to headrace_owner', item.name);
    end loop;
    for item in
        select c.oid::regclass as name, c.relname, c.relkind from pg_class c
        where c.relnamespace = 'headrace'::regnamespace and c.relkind in ('r', 'p', 'v') and pg_get_userbyid(c.relowner) = 'headrace_owner'
    loop
        if item.relkind = 'v' then
            execute format('grant select on %s to headrace_broker, headrace_reader', item.name);
        elsif item.relname = 'migration' then
            execute format('grant select on %s to headrace_broker', item.name);
        elsif item.relname in ('audit', 'access_grant', 'access_grant_end') then
            execute format('grant select, insert on %s to headrace_broker', item.name);
        else
            execute format('grant select, insert, update, delete on %s to headrace_broker', item.name);
        end if;
    end loop;
    grant execute on function headrace.created_at(bigint) to headrace_reader;
    for item in
        select p.oid::regprocedure as name from pg_proc p where p.pronamespace = 'headrace'::regnamespace and p.proname in ('submit_job', 'submitted_job', 'complete_job')
    loop
        execute format('grant execute on function %s to headrace_door', item.name);
    end loop;
end $$
