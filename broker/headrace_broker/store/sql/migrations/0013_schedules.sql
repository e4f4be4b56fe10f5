-- Schedules: what is to be submitted when, and the facts of their ticks.

create table headrace.schedule (
    schedule_id int generated always as identity primary key,
    domain_id int not null references headrace.domain,
    name text not null check (name <> ''),
    version bigint not null default 1,           -- rises with every change of the row: who decides names the version that it knows
    deleted boolean not null default false,      -- the row stays for a week: whoever makes the name again goes on after its last tick
    cron text,                                   -- exactly one of cron, interval_s and at
    time_zone text not null default 'UTC',
    interval_s int check (interval_s > 0),
    anchor timestamptz,                          -- of the interval; null: 1970
    at timestamptz,
    start_at timestamptz,
    end_at timestamptz,
    type_id int not null references headrace.job_type,
    payload bytea not null,
    content_type text not null,
    instance_id text not null,
    priority int not null,
    labels jsonb not null,
    overlap text not null check (overlap in ('allow', 'skip', 'queue', 'abort')),
    missed text not null check (missed in ('skip', 'once', 'all')),
    max_missed int not null check (max_missed > 0),
    jitter_s float8 not null check (jitter_s >= 0),
    paused_at timestamptz,                       -- null: not paused
    paused_by text not null default '',
    paused_reason text not null default '',
    next_at timestamptz,                         -- null: no further tick, or paused
    ticked_at timestamptz,                       -- newest tick that was decided; every later one is above it
    fired_at timestamptz,                        -- newest tick that became a job, and that job
    last_job_id bigint,
    queued_at timestamptz,                       -- a tick that waits for the end of that job
    aborting_id bigint,                          -- job that the newest tick is to end; null once that is asked for
    fired bigint not null default 0,
    skipped bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    changed_at timestamptz not null default clock_timestamp(),
    unique (domain_id, name),
    check (num_nonnulls(cron, interval_s, at) = 1),
    check (next_at > ticked_at)
);
create index schedule_by_change on headrace.schedule (changed_at);

create table headrace.schedule_fire (
    schedule_id int not null references headrace.schedule on delete cascade,
    nominal_at timestamptz not null,             -- the tick; of a run that a person asked for: when
    request_id text not null default '',         -- of such a run
    outcome text not null check (outcome in ('fired', 'manual', 'skipped', 'missed')),
    job_id bigint,                               -- null: none
    fired_at timestamptz not null default now(),
    primary key (schedule_id, nominal_at, request_id),
    check ((job_id is not null) = (outcome in ('fired', 'manual')))
);
create unique index schedule_fire_by_request on headrace.schedule_fire (schedule_id, request_id) where request_id <> '';
create index schedule_fire_by_time on headrace.schedule_fire (fired_at);
