-- Ends a token for good.
-- $1 token_id int. Index: primary key. Locks: its row. Returns as token_list.
update headrace.token set revoked_at = clock_timestamp(), old_hash = null, old_until = null, changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond') where token_id = $1
returning token_id, name, domain, role, hash, old_hash, old_until, expires_at, revoked_at, created_at, created_by, changed_at, clock_timestamp() as now
