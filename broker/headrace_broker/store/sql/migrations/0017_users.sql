-- People who log in to the manager. A name is one person's in all domains: whoever logs in gives no domain.

create table headrace.account (
    user_id int generated always as identity primary key,
    name text not null check (name <> ''),
    domain text check (domain <> ''),           -- null: all domains
    role smallint not null check (role in (1, 4, 5)),
    password text check (password <> ''),       -- argon2id in PHC form, salt and cost in it; null: the person has not chosen one yet
    epoch int not null default 1,               -- rises with whatever ends the person's sessions
    invite_hash bytea unique check (length(invite_hash) = 32),  -- SHA-256 of the key of a link with which to choose a password, once
    invite_until timestamptz,
    disabled_at timestamptz,
    password_at timestamptz,
    logged_in_at timestamptz,
    created_at timestamptz not null default now(),
    created_by text not null,
    changed_at timestamptz not null default clock_timestamp(),
    check ((invite_hash is null) = (invite_until is null))
);
create unique index account_name on headrace.account (lower(name));
