-- Makes a token, unless a token of that name is valid in the domain.
-- $1 name text, $2 domain text or null, $3 role smallint, $4 hash bytea, $5 expires in seconds double precision or null, $6 who text.
-- Indexes: the unique ones. Locks: the new row; waits for an uncommitted twin. Returns as token_list; no row: the name is taken.
insert into headrace.token (name, domain, role, hash, expires_at, created_by)
values ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5::double precision), $6)
on conflict (coalesce(domain, ''), name) where revoked_at is null do nothing
returning token_id, name, domain, role, hash, old_hash, old_until, expires_at, revoked_at, created_at, created_by, changed_at, clock_timestamp() as now
