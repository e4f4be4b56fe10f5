-- Users of one domain, by name, disabled ones last.
-- $1 domain text or null (those of all domains), $2 with disabled ones boolean, $3 rows int. Index: none (few rows). Locks: none. Returns as user_add.
select user_id, name, domain, role, password, epoch, invite_hash, invite_until, disabled_at, password_at, logged_in_at, created_at, created_by, changed_at, clock_timestamp() as now
from headrace.account where domain is not distinct from $1::text and ($2 or disabled_at is null)
order by disabled_at is not null, lower(name) limit $3
