-- Tokens that were changed after a time, or within the last minute (the clock may have been set back since), those that were revoked included; all of them at first.
-- $1 timestamptz or null. Index: token_changed. Locks: none.
-- Returns: token_id int, name text, domain text, role smallint, hash bytea, old_hash bytea, old_until timestamptz, expires_at timestamptz, revoked_at timestamptz,
-- created_at timestamptz, created_by text, changed_at timestamptz, now timestamptz (the database's clock).
select token_id, name, domain, role, hash, old_hash, old_until, expires_at, revoked_at, created_at, created_by, changed_at, clock_timestamp() as now
from headrace.token where $1::timestamptz is null or changed_at > least($1, now() - interval '1 minute')
