-- What a broker wants to know of the server and the database before it trusts them. No parameters. Reads settings and the catalogue. Locks: none. Returns one row.
select current_setting('server_version') as version, current_setting('server_version_num')::int as version_number, getdatabaseencoding()::text as encoding,
       pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as read_only,
       current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes, current_setting('synchronous_commit') as synchronous_commit,
       current_setting('autovacuum') as autovacuum, current_setting('synchronous_standby_names') as synchronous_standby_names,
       (select count(*)::int from pg_stat_replication) as standbys,
       least(
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int - coalesce(current_setting('reserved_connections', true)::int, 0)
               - (select count(*)::int from pg_stat_activity where backend_type = 'client backend'),
           (select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user),
           (select nullif(datconnlimit, -1) from pg_database where datname = current_database())
       ) as free_connections,
       extract(epoch from clock_timestamp())::float8 as now_s, current_user::text as user_name, (select rolsuper from pg_roles where rolname = current_user) as superuser,
       exists (select from pg_extension where extname = 'pg_trgm') as trgm, exists (select from pg_available_extensions where name = 'pg_trgm') as trgm_available,
       to_regclass('headrace.life') is not null as installed
