-- The user whose invitation is still good, until the transaction ends.
-- $1 SHA-256 of its key bytea. Index: the unique one. Locks: its row. Returns as user_add.
select user_id, name, domain, role, password, epoch, invite_hash, invite_until, disabled_at, password_at, logged_in_at, created_at, created_by, changed_at, clock_timestamp() as now
from headrace.account where invite_hash = $1 and invite_until > clock_timestamp() and disabled_at is null for update
