-- Certificates that are not trusted any more, by serial number or by fingerprint. Nothing is ever taken back: a new certificate is cheap.

create table headrace.revoked_certificate (
    revoked_id int generated always as identity primary key,
    serial text unique check (serial ~ '^[1-9a-f][0-9a-f]{0,39}$'),         -- as hexadecimal digits
    fingerprint bytea unique check (length(fingerprint) = 32),              -- SHA-256 of the DER
    reason text not null,
    revoked_at timestamptz not null default clock_timestamp(),
    revoked_by text not null,
    check ((serial is null) <> (fingerprint is null))
);
create index revoked_certificate_at on headrace.revoked_certificate (revoked_at);
