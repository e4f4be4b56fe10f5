-- Begins a life on this connection.
-- $1 address text (for people), $2 version text. Locks: none but the new row's.
-- Returns life_id int, backend_pid int.
insert into headrace.life (backend_pid, backend_start, address, version)
select pid, backend_start, $1, $2 from pg_stat_activity where pid = pg_backend_pid()
returning life_id, backend_pid
