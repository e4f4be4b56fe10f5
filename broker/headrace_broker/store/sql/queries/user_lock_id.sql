-- A user by number, until the transaction ends.
-- $1 user_id int. Index: primary key. Locks: its row. Returns as user_add.
select user_id, name, domain, role, password, epoch, invite_hash, invite_until, disabled_at, password_at, logged_in_at, created_at, created_by, changed_at, clock_timestamp() as now
from headrace.account where user_id = $1 for update
