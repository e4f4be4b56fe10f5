-- Makes the roles, as far as they are missing, for all databases of the server. None has a password: who may log in, and how, is the server's affair. Safe to repeat.
-- No parameters. Locks: none that anybody waits for.
do $$
declare
    name text;
begin
    foreach name in array array['headrace_owner', 'headrace_migrator', 'headrace_broker', 'headrace_reader', 'headrace_door'] loop
        if not exists (select from pg_roles where rolname = name) then
            begin
                execute format('create role %I %s', name, case name when 'headrace_owner' then 'nologin' else 'login' end);
            exception when duplicate_object or unique_violation then  -- somebody else was faster, in another database
                null;
            end;
        end if;
    end loop;
    if not pg_has_role('headrace_owner', 'headrace_broker', 'member') then
        grant headrace_broker to headrace_owner;
    end if;
    if not pg_has_role('headrace_migrator', 'headrace_owner', 'member') then
        grant headrace_owner to headrace_migrator;
    end if;
    if not pg_has_role(current_user, 'headrace_owner', 'member') then
        grant headrace_owner to current_user;
    end if;
    execute format('grant connect on database %I to headrace_migrator, headrace_broker, headrace_reader, headrace_door', current_database());
    execute format('grant temporary on database %I to headrace_broker', current_database());
    begin
        grant pg_read_all_stats to headrace_broker;  -- how long somebody's transaction keeps a job
    exception when insufficient_privilege then
        raise notice 'headrace_broker could not be given pg_read_all_stats: it will not see since when transactions of others are open';
    end;
    if exists (select from pg_available_extensions e where e.name = 'pg_trgm') then
        begin
            create extension if not exists pg_trgm with schema headrace;
        exception when insufficient_privilege then
            raise notice 'pg_trgm could not be installed: log texts are searched without an index';
        end;
    end if;
end $$
