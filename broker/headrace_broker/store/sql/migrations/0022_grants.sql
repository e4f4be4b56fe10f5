-- Grants: who may do what beside what the role says. A grant is a fact, and so is its end: rows of both are inserted and never changed.

create table headrace.access_grant (
    grant_id int generated always as identity primary key,
    holder_kind smallint not null check (holder_kind between 1 and 3),  -- token, user, certificate
    holder_id int check ((holder_id is null) = (holder_kind = 3)),      -- the token's or user's number, which no other ever has
    holder text not null check (holder <> ''),                          -- its name; of a certificate, the whole URI that it is known by
    domains text not null check (domains <> ''),                        -- pattern
    types text not null check (types <> ''),                            -- pattern
    actions text[] not null check (cardinality(actions) > 0),
    reason text not null,
    granted_at timestamptz not null default clock_timestamp(),
    granted_by text not null
);
create index access_grant_at on headrace.access_grant (granted_at);

create table headrace.access_grant_end (
    grant_id int primary key references headrace.access_grant,
    ended_at timestamptz not null default clock_timestamp(),
    ended_by text not null
);
create index access_grant_end_at on headrace.access_grant_end (ended_at);

-- The role that allows nothing by itself.
alter table headrace.token drop constraint token_role_check, add constraint token_role_check check (role between 1 and 6);
alter table headrace.account drop constraint account_role_check, add constraint account_role_check check (role in (1, 4, 5, 6));
