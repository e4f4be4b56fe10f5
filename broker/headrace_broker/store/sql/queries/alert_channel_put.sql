-- Makes a channel, or replaces what it is; never its secret.
-- $1 domain text, $2 name text, $3 kind text, $4 settings text (JSON), $5 is_default boolean, $6 send_resolved boolean, $7 cap_per_hour int.
-- Index: unique (domain, name). Locks: its row. Returns channel_id int.
insert into headrace.alert_channel (domain, name, kind, settings, is_default, send_resolved, cap_per_hour) values ($1, $2, $3, $4::text::jsonb, $5, $6, $7)
on conflict (domain, name) do update set kind = excluded.kind, settings = excluded.settings, is_default = excluded.is_default, send_resolved = excluded.send_resolved,
    cap_per_hour = excluded.cap_per_hour
returning channel_id
