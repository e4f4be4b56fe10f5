-- Begins a life on this connection, unless the schema has gone on without this broker, and says how other brokers reach it.
-- $1 address text (for people), $2 version text, $3 highest migration that this broker knows int; of peer: $4 host text (null: nothing is said), $5 endpoint text, $6 web text,
-- $7 key bytea, $8 certificate text; $9 shard int, $10 broker text: the process. Locks: none but the new rows'; waits while a migration of the second phase runs.
-- Returns life_id int, backend_pid int; no row when a migration of the second phase was applied that this broker does not know.
with life as (
    insert into headrace.life (backend_pid, backend_start, address, version, schema, shard, broker)
    select pid, backend_start, $1, $2, $3, $9::int, $10 from pg_stat_activity
    where pid = pg_backend_pid() and not exists (select from headrace.migration m where m.phase = 'post' and m.version > $3)
    returning life_id, backend_pid
), peer as (
    insert into headrace.peer (life_id, host, endpoint, web, key, certificate)
    select life_id, $4::text, $5::text, $6::text, $7::bytea, $8::text from life where $4::text is not null
)
select life_id, backend_pid from life
