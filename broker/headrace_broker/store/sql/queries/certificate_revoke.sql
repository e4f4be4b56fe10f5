-- Notes that a certificate is not trusted any more, unless that is noted already.
-- $1 serial text or null, $2 fingerprint bytea or null, $3 why text, $4 who text. Indexes: the unique ones. Locks: the new row; waits for an uncommitted twin.
-- Returns: serial text, fingerprint bytea, reason text, revoked_at timestamptz, revoked_by text; no row: it is there.
insert into headrace.revoked_certificate (serial, fingerprint, reason, revoked_by) values ($1, $2, $3, $4)
on conflict do nothing
returning serial, fingerprint, reason, revoked_at, revoked_by
