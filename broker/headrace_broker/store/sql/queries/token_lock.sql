-- The valid token of a name, until the transaction ends. One that has expired counts as valid: it can be rotated.
-- $1 domain text or null, $2 name text. Index: token_name. Locks: its row. Returns as token_list.
select token_id, name, domain, role, hash, old_hash, old_until, expires_at, revoked_at, created_at, created_by, changed_at, clock_timestamp() as now
from headrace.token where coalesce(domain, '') = coalesce($1::text, '') and name = $2 and revoked_at is null for update
