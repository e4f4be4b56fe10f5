-- Makes the first token, unless there ever was one.
-- $1 name text, $2 hash bytea, $3 who text, $4 role smallint. Indexes: the unique ones. Locks: the new row; waits for an uncommitted twin. Returns as token_list; no row: there are tokens.
insert into headrace.token (name, role, hash, created_by)
select $1, $4, $2, $3 where not exists (select from headrace.token)
on conflict (coalesce(domain, ''), name) where revoked_at is null do nothing
returning token_id, name, domain, role, hash, old_hash, old_until, expires_at, revoked_at, created_at, created_by, changed_at, clock_timestamp() as now
