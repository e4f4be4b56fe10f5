-- Stores what was changed of a user whose row this transaction holds.
-- $1 user_id int, $2 role smallint, $3 password text or null, $4 epoch int, $5 invite_hash bytea or null, $6 invite_until timestamptz or null, $7 disabled_at timestamptz or null,
-- $8 password_at timestamptz or null, $9 logged_in_at timestamptz or null. Index: primary key. Locks: its row. Returns as user_add.
update headrace.account set
    role = $2, password = $3, epoch = $4, invite_hash = $5, invite_until = $6, disabled_at = $7, password_at = $8, logged_in_at = $9, changed_at = clock_timestamp()
where user_id = $1
returning user_id, name, domain, role, password, epoch, invite_hash, invite_until, disabled_at, password_at, logged_in_at, created_at, created_by, changed_at, clock_timestamp() as now
