-- The user of a name in one domain, until the transaction ends.
-- $1 domain text or null (those of all domains), $2 name text. Index: account_name. Locks: its row. Returns as user_add.
select user_id, name, domain, role, password, epoch, invite_hash, invite_until, disabled_at, password_at, logged_in_at, created_at, created_by, changed_at, clock_timestamp() as now
from headrace.account where lower(name) = lower($2) and domain is not distinct from $1::text for update
