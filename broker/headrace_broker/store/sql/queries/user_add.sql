-- Makes a user, unless somebody has the name, in whatever domain.
-- $1 name text, $2 domain text or null (all domains), $3 role smallint, $4 who text. Index: account_name. Locks: the new row; waits for an uncommitted twin.
-- Returns: user_id int, name text, domain text, role smallint, password text, epoch int, invite_hash bytea, invite_until timestamptz, disabled_at timestamptz,
-- password_at timestamptz, logged_in_at timestamptz, created_at timestamptz, created_by text, changed_at timestamptz, now timestamptz (the database's clock); no row: the name is taken.
insert into headrace.account (name, domain, role, created_by) values ($1, $2, $3, $4)
on conflict (lower(name)) do nothing
returning user_id, name, domain, role, password, epoch, invite_hash, invite_until, disabled_at, password_at, logged_in_at, created_at, created_by, changed_at, clock_timestamp() as now
