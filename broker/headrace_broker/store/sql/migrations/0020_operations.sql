-- Bulk operations: one deed to all jobs that match a filter, and what became of each.

create table headrace.operation (
    operation_id bigint generated always as identity primary key,
    domain_id int not null references headrace.domain,
    action text not null check (action in ('requeue', 'abort', 'purge', 'priority', 'hold', 'release')),
    options jsonb not null,                      -- of the action
    filter jsonb not null,                       -- only what narrows
    all_jobs boolean not null,                   -- the empty filter was asked for by name
    reason text not null,
    actor text not null,                         -- who started it: the columns of the audit
    token_id int,
    on_behalf_of text not null,
    request_id text not null,
    start_key text not null default '',          -- calls with the same one start one operation
    frozen_id bigint not null,                   -- no job with a higher id is touched
    expected bigint not null,                    -- jobs that matched at the start
    expected_complete boolean not null,          -- false: at least so many
    rate float8 not null check (rate >= 0),      -- jobs a second; 0: no limit
    state text not null default 'running' check (state in ('running', 'stopped', 'finished')),
    created_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    stopped_at timestamptz,                      -- when it was stopped last, by whom and why
    stopped_by text not null default '',
    stopped_reason text not null default '',
    check ((state = 'finished') = (finished_at is not null)),
    check (all_jobs = (filter = '{}'))
);
create unique index operation_by_key on headrace.operation (domain_id, start_key) where start_key <> '';
create index operation_by_domain on headrace.operation (domain_id, operation_id);
create index operation_running on headrace.operation (operation_id) where state = 'running';
create index operation_finished on headrace.operation (finished_at) where finished_at is not null;

-- How far an operation came: a row for each page of jobs, in the commit that changed them. The key lets no page happen twice; the newest row is what holds, older ones go.
create table headrace.operation_page (
    operation_id bigint not null references headrace.operation on delete cascade,
    n int not null check (n > 0),
    after_id bigint not null,                    -- all ids up to this one were looked at
    todo bigint[] not null,                      -- members among them that are not decided yet
    searched boolean not null,                   -- there are no more to be looked at
    matched bigint not null,                     -- these four from the start on
    done bigint not null,
    skipped bigint not null,
    failed bigint not null,
    at timestamptz not null default now(),
    primary key (operation_id, n),
    check (matched = done + skipped + failed + cardinality(todo))
);

-- Jobs of an operation that were not changed, and why.
create table headrace.operation_skip (
    operation_id bigint not null references headrace.operation on delete cascade,
    job_id bigint not null,
    failed boolean not null,                     -- false: its state or a rule forbids it
    code text not null,
    reason text not null,
    primary key (operation_id, job_id)
);
