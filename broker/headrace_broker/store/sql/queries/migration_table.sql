-- Where the applied migrations are recorded. Safe to repeat.
create schema if not exists headrace;
create table if not exists headrace.migration (
    version int primary key,
    name text not null,
    checksum text not null,
    headrace_version text not null,
    applied_at timestamptz not null default now()
)
