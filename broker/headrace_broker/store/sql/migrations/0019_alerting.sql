-- Who is told of what fails: groups of alerts, the notices that they make, and where those go. Rows of alert stay what they are: facts, written in the commit that settles a job.

create table headrace.alert_state (              -- one row
    one boolean primary key default true check (one),
    term bigint not null default 0,              -- rises when a broker takes the duty up; whoever knows an older one stores nothing
    version bigint not null default 0,           -- rises with every change of channels, rules and silences
    cursor bigint not null                       -- newest row of alert that is in the groups
);
insert into headrace.alert_state (cursor) select coalesce(max(alert_id), 0) from headrace.alert;

create table headrace.alert_channel (
    channel_id int generated always as identity primary key,
    domain text not null,
    name text not null check (name <> ''),
    kind text not null check (kind in ('email', 'webhook')),
    settings jsonb not null,                     -- never a secret
    is_default boolean not null,                 -- gets what names no channel
    send_resolved boolean not null,
    cap_per_hour int not null check (cap_per_hour > 0),
    created_at timestamptz not null default clock_timestamp(),
    unique (domain, name)
);
create table headrace.alert_secret (             -- passwords and keys, apart from everything that is shown
    channel_id int primary key references headrace.alert_channel on delete cascade,
    secret text not null check (secret <> '')
);
revoke all on headrace.alert_channel, headrace.alert_secret from public;

create table headrace.alert_rule (
    rule_id int generated always as identity primary key,
    domain text not null,
    name text not null check (name <> ''),
    kind text not null check (kind in ('oldest_waiting', 'error_rate', 'agent_lost', 'no_agent', 'database', 'door_open')),
    type text not null,                          -- empty: every type
    threshold float8 not null check (threshold >= 0),
    window_s float8 not null check (window_s >= 0),
    minimum int not null check (minimum >= 0),
    for_s float8 not null check (for_s >= 0),
    channels text[] not null,                    -- empty: the default ones
    group_wait_s float8 not null check (group_wait_s >= 0),
    group_interval_s float8 not null check (group_interval_s > 0),
    repeat_interval_s float8 not null check (repeat_interval_s > 0),
    created_at timestamptz not null default clock_timestamp(),
    unique (domain, name)
);

create table headrace.alert_silence (
    silence_id int generated always as identity primary key,
    domain text not null,
    type text not null,                          -- this and the next three: empty matches everything
    source text not null,
    rule text not null,
    fingerprint text not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at >= starts_at),
    author text not null,
    reason text not null check (reason <> ''),
    ended_by text,                               -- who ended it before its time
    created_at timestamptz not null default clock_timestamp()
);
create index alert_silence_by_end on headrace.alert_silence (ends_at);

create table headrace.alert_group (              -- one row from its first alert to its end
    group_id bigint generated always as identity primary key,
    domain text not null,
    source text not null,
    rule text not null,
    type text not null,
    fingerprint text not null,
    started_at timestamptz not null,
    changed_at timestamptz not null,             -- newest failure; of a rule, when it was found last
    next_at timestamptz not null,                -- when it is looked at next
    notified_at timestamptz,
    ended_at timestamptz,                        -- since when the rule finds nothing
    resolved_at timestamptz,
    total bigint not null,
    pending bigint not null check (pending >= 0),    -- failures that no notice has told of
    silenced bigint not null,                    -- and never will
    notices int not null,
    summary text not null,
    first_job_id bigint,
    last_job_id bigint
);
create unique index alert_group_open on headrace.alert_group (domain, source, rule, type, fingerprint) where resolved_at is null;
create index alert_group_by_domain on headrace.alert_group (domain, group_id);
create index alert_group_resolved on headrace.alert_group (resolved_at) where resolved_at is not null;

create table headrace.alert_notice (             -- one row for each notice and channel
    notice_id bigint generated always as identity primary key,
    group_id bigint not null references headrace.alert_group on delete cascade,
    channel_id int not null references headrace.alert_channel on delete cascade,
    facts jsonb not null,                        -- what it says
    made_at timestamptz not null,
    batch_id bigint,                             -- notice_id that names the message which carries it; null: it was not tried yet
    tries int not null default 0,
    next_try_at timestamptz,
    sent_at timestamptz,
    given_up_at timestamptz,
    error text
);
create index alert_notice_waiting on headrace.alert_notice (channel_id, notice_id) where sent_at is null and given_up_at is null;
create index alert_notice_sent on headrace.alert_notice (channel_id, sent_at);
create index alert_notice_by_group on headrace.alert_notice (group_id);
