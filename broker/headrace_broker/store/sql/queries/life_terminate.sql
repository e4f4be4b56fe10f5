-- Ends the backend of a life: the same pid and start, so that no other session is hit.
-- $1 life_id int. Returns a row for each backend ended.
select pg_terminate_backend(a.pid) from headrace.life l join pg_stat_activity a on a.pid = l.backend_pid and a.backend_start = l.backend_start where l.life_id = $1
