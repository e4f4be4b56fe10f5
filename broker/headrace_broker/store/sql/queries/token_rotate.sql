-- Gives a token a new secret; the one before stays valid for a while, but never longer than it would have been.
-- $1 token_id int, $2 hash bytea, $3 overlap in seconds double precision, $4 expires in seconds double precision or null (as before).
-- Index: primary key. Locks: its row. Returns as token_list.
update headrace.token set
    old_hash = case when $3::double precision > 0 then hash end,
    old_until = case when $3::double precision > 0 then least(clock_timestamp() + make_interval(secs => $3::double precision), expires_at) end,
    hash = $2, changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond'),
    expires_at = coalesce(clock_timestamp() + make_interval(secs => $4::double precision), expires_at)
where token_id = $1
returning token_id, name, domain, role, hash, old_hash, old_until, expires_at, revoked_at, created_at, created_by, changed_at, clock_timestamp() as now
