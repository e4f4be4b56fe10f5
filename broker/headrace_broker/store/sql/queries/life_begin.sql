-- Begins a life on this connection, unless the schema has gone on without this broker.
-- $1 address text (for people), $2 version text, $3 highest migration that this broker knows int. Locks: none but the new row's; waits while a migration of the second phase runs.
-- Returns life_id int, backend_pid int; no row when a migration of the second phase was applied that this broker does not know.
insert into headrace.life (backend_pid, backend_start, address, version, schema)
select pid, backend_start, $1, $2, $3 from pg_stat_activity
where pid = pg_backend_pid() and not exists (select from headrace.migration m where m.phase = 'post' and m.version > $3)
returning life_id, backend_pid
