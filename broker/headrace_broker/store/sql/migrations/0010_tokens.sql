-- Tokens: who may do what. Secrets are 256 random bits, so that a plain hash keeps them: there is nothing to guess, and nothing for a slow hash to slow down.

create table headrace.token (
    token_id int generated always as identity primary key,
    name text not null check (name <> ''),
    domain text check (domain <> ''),           -- null: all domains
    role smallint not null check (role between 1 and 5),
    hash bytea not null unique check (length(hash) = 32),       -- SHA-256 of the secret
    old_hash bytea unique check (length(old_hash) = 32),        -- of the one before, while it is valid
    old_until timestamptz,
    expires_at timestamptz,                     -- null: never
    revoked_at timestamptz,
    created_at timestamptz not null default now(),
    created_by text not null,
    changed_at timestamptz not null default clock_timestamp(),
    check ((old_hash is null) = (old_until is null))
);
create unique index token_name on headrace.token (coalesce(domain, ''), name) where revoked_at is null;
create index token_changed on headrace.token (changed_at);
