-- Certificates that were revoked after a time, or within the last minute (the clock may have been set back since), newest first; null: all of them.
-- $1 timestamptz or null, $2 rows int or null (all). Index: revoked_certificate_at. Locks: none. Returns as certificate_revoke.
select serial, fingerprint, reason, revoked_at, revoked_by from headrace.revoked_certificate
where $1::timestamptz is null or revoked_at > least($1, now() - interval '1 minute') order by revoked_at desc limit $2
