-- What is noted of a certificate. $1 serial text or null, $2 fingerprint bytea or null. Indexes: the unique ones. Locks: none. Returns as certificate_revoke.
select serial, fingerprint, reason, revoked_at, revoked_by from headrace.revoked_certificate where serial = $1 or fingerprint = $2
