-- Makes a saved filter, or replaces what it looks for.
-- $1 domain text, $2 owner text, $3 name text, $4 filter text (JSON), $5 saved_by text. Index: primary key. Locks: its row. Returns the row.
insert into headrace.saved_filter (domain, owner, name, filter, saved_by) values ($1, $2, $3, $4::text::jsonb, $5)
on conflict (domain, owner, name) do update set filter = excluded.filter, saved_by = excluded.saved_by, saved_at = clock_timestamp(), version = default
returning domain, owner, name, filter::text as filter, version, saved_by, saved_at
