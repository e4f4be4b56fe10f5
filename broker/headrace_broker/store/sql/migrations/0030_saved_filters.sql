-- Filters of jobs that somebody keeps under a name.

create table headrace.saved_filter (
    domain text not null,
    owner text not null,                         -- who keeps it for themselves; empty: everybody in the domain
    name text not null check (name <> ''),
    filter jsonb not null,                       -- what it looks for: times as they are, or how long before the moment of use
    version bigint generated always as identity, -- another one with every change, and never used again
    saved_by text not null,
    saved_at timestamptz not null default clock_timestamp(),
    primary key (domain, owner, name)
);
