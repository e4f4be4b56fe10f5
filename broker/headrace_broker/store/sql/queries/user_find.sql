-- The user of a name, for a login.
-- $1 name text. Index: account_name. Locks: none. Returns as user_add.
select user_id, name, domain, role, password, epoch, invite_hash, invite_until, disabled_at, password_at, logged_in_at, created_at, created_by, changed_at, clock_timestamp() as now
from headrace.account where lower(name) = lower($1)
