-- Ends the backend of a life: the same pid, start and database, so that no other session is hit; a copy of the database on the same server has rows of this life too.
-- $1 life_id int. Returns a row for each backend ended.
select pg_terminate_backend(a.pid) from headrace.life l join pg_stat_activity a on a.pid = l.backend_pid and a.backend_start = l.backend_start
where l.life_id = $1 and a.datname = current_database()
