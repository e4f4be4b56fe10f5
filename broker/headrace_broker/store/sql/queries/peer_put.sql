-- Tells other brokers how to reach the one that has this life.
-- $1 life_id int, $2 host text, $3 endpoint text, $4 web text, $5 key bytea, $6 certificate text. Index: primary key of peer. Locks: the life's row of peer.
insert into headrace.peer (life_id, host, endpoint, web, key, certificate) values ($1, $2, $3, $4, $5, $6)
on conflict (life_id) do update set host = excluded.host, endpoint = excluded.endpoint, web = excluded.web, key = excluded.key, certificate = excluded.certificate
