-- Begins a life on this connection, and says how other brokers reach it.
-- $1 address text (for people), $2 version text; of peer: $3 host text (null: nothing is said), $4 endpoint text, $5 web text, $6 key bytea, $7 certificate text.
-- Locks: none but the new rows'. Returns life_id int, backend_pid int.
with life as (
    insert into headrace.life (backend_pid, backend_start, address, version)
    select pid, backend_start, $1, $2 from pg_stat_activity where pid = pg_backend_pid()
    returning life_id, backend_pid
), peer as (
    insert into headrace.peer (life_id, host, endpoint, web, key, certificate)
    select life_id, $3::text, $4::text, $5::text, $6::bytea, $7::text from life where $3::text is not null
)
select life_id, backend_pid from life
