-- Tokens of one domain, by name, revoked ones last.
-- $1 domain text or null (those of all domains), $2 with revoked ones boolean, $3 rows int. Index: none (few rows). Locks: none. Returns as token_list.
select token_id, name, domain, role, hash, old_hash, old_until, expires_at, revoked_at, created_at, created_by, changed_at, clock_timestamp() as now
from headrace.token where domain is not distinct from $1::text and ($2 or revoked_at is null)
order by revoked_at is not null, name, token_id limit $3
