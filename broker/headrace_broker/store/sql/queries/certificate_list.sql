-- Certificates that were revoked after a time, newest first; null: all of them.
-- $1 timestamptz or null, $2 rows int or null (all). Index: revoked_certificate_at. Locks: none. Returns as certificate_revoke.
select serial, fingerprint, reason, revoked_at, revoked_by from headrace.revoked_certificate
where $1::timestamptz is null or revoked_at > $1 order by revoked_at desc limit $2
