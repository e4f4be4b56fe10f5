-- Who is logged in to the manager, at whatever broker: each knows the sessions of all, and that they have ended.

create table headrace.web_session (
    hash bytea primary key check (length(hash) = 32),   -- SHA-256 of the cookie, which is 256 random bits
    number text not null check (number <> ''),          -- names it on pages, and is no secret
    actor text not null check (actor <> ''),            -- as the audit names the person
    role smallint not null,
    domain text check (domain <> ''),                   -- of the person; null: all domains
    user_id int,                                        -- of users
    epoch int not null,                                 -- of the user's row at the login
    token_id int,                                       -- of tokens
    secret_hash bytea check (length(secret_hash) = 32), -- of the secret that was typed, with which the session ends
    address text not null,
    browser text not null,
    shows text not null check (shows <> ''),            -- the domain that is looked at
    began_at timestamptz not null,
    seen_at timestamptz not null,                       -- within half a minute
    ended_at timestamptz,
    changed_at timestamptz not null default clock_timestamp()
);
create index web_session_changed on headrace.web_session (changed_at);
