-- Stores a session of the manager; safe to repeat.
-- $1 hash bytea, $2 number text, $3 actor text, $4 role smallint, $5 domain text or null, $6 user_id int or null, $7 epoch int, $8 token_id int or null, $9 secret_hash bytea or null,
-- $10 address text, $11 browser text, $12 shows text, $13 age_s float8, $14 idle_s float8. Index: primary key. Locks: its row.
insert into headrace.web_session (hash, number, actor, role, domain, user_id, epoch, token_id, secret_hash, address, browser, shows, began_at, seen_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp() - make_interval(secs => $13), clock_timestamp() - make_interval(secs => $14))
on conflict (hash) do nothing
