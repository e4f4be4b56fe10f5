-- The ledger: facts that are only ever inserted, and the few small tables that change.
--
-- Facts are partitioned by retention class (the lowest three bits of a job id), then by range of ids, so that whole ranges go when their time has come.
-- Keys and indexes stand on the leaves: Postgres refuses a primary key over the expression (job_id & 7) on the parent.

-- Who and what ---------------------------------------------------------------------------------------------------------------------------------

create table headrace.domain (
    domain_id int generated always as identity primary key,
    name text not null unique check (name <> '')
);

create table headrace.job_type (
    type_id int generated always as identity primary key,
    domain_id int not null references headrace.domain,
    name text not null check (name <> ''),
    declared jsonb not null default '{}',       -- settings that agents' code declares
    overrides jsonb not null default '{}',      -- settings that a person made; they win
    changed_at timestamptz not null default now(),
    unique (domain_id, name)
);

create table headrace.agent (                   -- one row for each life of an agent process; grants point here
    agent_id int generated always as identity primary key,
    domain_id int not null references headrace.domain,
    name text not null,
    incarnation_id text not null unique,
    host text not null,
    pid int not null,
    build text not null,
    sdk text not null,
    labels jsonb not null default '{}',
    first_seen timestamptz not null default now()
);

-- Who may write --------------------------------------------------------------------------------------------------------------------------------

create table headrace.life (                    -- one life of one broker; every flush reads its row as its fence
    life_id int generated always as identity primary key,
    backend_pid int not null,
    backend_start timestamptz not null,
    dead boolean not null default false,
    address text not null,
    version text not null,
    started_at timestamptz not null default now()
);

create table headrace.shard (
    shard smallint primary key check (shard between 0 and 63),
    life_id int references headrace.life        -- its owner; null before the first
);
insert into headrace.shard (shard) select generate_series(0, 63);

-- Facts ----------------------------------------------------------------------------------------------------------------------------------------

create table headrace.job (                     -- the submission, immutable; created_at is in the id
    job_id bigint not null,
    available_at timestamptz,                   -- null: at once
    type_id int not null,
    priority int not null,
    instance_id text,
    content_type text,                          -- null: application/json
    idempotency_key text,
    labels jsonb,
    trace_context text,
    more jsonb,                                 -- what few jobs have, by name: a column of its own would cost every job
    payload bytea
) partition by list ((job_id & 7));

create table headrace.event (                   -- what moves a job; carries all that its state needs, so the newest one is enough
    job_id bigint not null,
    at timestamptz not null default now(),
    seq int not null check (seq > 0),
    type_id int not null,
    agent_id int,                               -- grants, and what ends them
    delete_minute int,                          -- settled: minute (since 1970) from which the job is gone; null: kept
    kind smallint not null,
    state smallint not null,
    run smallint not null check (run > 0),
    attempt smallint not null check (attempt >= 0),
    losses smallint not null check (losses >= 0),
    available_at timestamptz,                   -- waiting: not before
    lease_s real,                               -- grants
    actor text,
    reason text,
    error jsonb,                                -- code, message, fingerprint, traceback
    result bytea
) partition by list ((job_id & 7));

create table headrace.note (                    -- what does not move the state: abort requests, checkpoints, outcomes that came too late
    job_id bigint not null,
    at timestamptz not null default now(),
    lease_epoch int not null,
    kind smallint not null,
    actor text,
    reason text,
    data bytea
) partition by list ((job_id & 7));

create table headrace.log_line (
    job_id bigint not null,
    at timestamptz not null,                    -- agent's clock
    lease_epoch int not null,
    line_no int not null,
    level smallint not null,
    text text not null
) partition by list ((job_id & 7));

create table headrace.fact_range (              -- the leaves there are: ids of class from lo (included) to hi (excluded)
    class smallint not null check (class between 0 and 7),
    lo bigint not null,
    hi bigint not null check (hi > lo),
    name text not null unique,
    made_at timestamptz not null default now(),
    primary key (class, lo)
);

-- Makes the leaves of one range: job, event, note, log_line. Each is made by itself and attached with a CHECK that proves its place, so attaching scans
-- nothing; there is no default partition, because it would forbid to detach concurrently. Safe to repeat. Locks: share update exclusive on the parents.
create function headrace.add_range(class int, lo bigint, hi bigint, suffix text) returns boolean language plpgsql as $$
declare
    fact text;
    leaf text;
    branch text;
begin
    perform pg_advisory_xact_lock(hashtext('headrace.add_range'));
    if exists (select from headrace.fact_range r where r.class = add_range.class and r.lo = add_range.lo) then
        return false;
    end if;
    foreach fact in array array['job', 'event', 'note', 'log_line'] loop
        branch := format('%s_%s', fact, class);
        if to_regclass('headrace.' || branch) is null then
            execute format('create table headrace.%I (like headrace.%I including defaults including constraints, check ((job_id & 7) = %s)) partition by range (job_id)', branch, fact, class);
            execute format('alter table headrace.%I attach partition headrace.%I for values in (%s)', fact, branch, class);
        end if;
        leaf := format('%s_%s', branch, suffix);
        execute format('create table headrace.%I (like headrace.%I including defaults including constraints, check (job_id >= %s and job_id < %s))', leaf, branch, lo, hi);
        case fact
            when 'job' then
                execute format('alter table headrace.%I add primary key (job_id)', leaf);
                execute format('create index on headrace.%I (type_id, job_id)', leaf);
                execute format('create index on headrace.%I (instance_id, job_id) where instance_id is not null', leaf);
            when 'event' then
                execute format('alter table headrace.%I add primary key (job_id, seq)', leaf);
                execute format('create index on headrace.%I (state, type_id, job_id) where state in (4, 5)', leaf);  -- lists of error and aborted jobs
            when 'note' then
                execute format('create index on headrace.%I (job_id)', leaf);
            when 'log_line' then
                execute format('alter table headrace.%I add primary key (job_id, lease_epoch, line_no)', leaf);
        end case;
        execute format('alter table headrace.%I set (autovacuum_vacuum_insert_scale_factor = 0.5, toast.autovacuum_vacuum_insert_scale_factor = 0.5)', leaf);
        execute format('alter table headrace.%I attach partition headrace.%I for values from (%s) to (%s)', branch, leaf, lo, hi);
    end loop;
    insert into headrace.fact_range (class, lo, hi, name) values (add_range.class, add_range.lo, add_range.hi, format('%s_%s', class, suffix));
    return true;
end $$;

-- Flushes and counts ---------------------------------------------------------------------------------------------------------------------------

create table headrace.flush (                   -- one row for each commit of a life: proof that it happened, and what it changed in the counts
    life_id int not null,
    slot smallint not null,                     -- which quarter of the table; quarters are truncated in turn
    n bigint not null,
    at timestamptz not null default now(),
    max_id bigint not null,                     -- highest job id given out so far
    count_type int[] not null,
    count_state smallint[] not null,
    count_minute int[] not null,                -- settled: delete_minute; 0: none
    count_delta int[] not null
) partition by list (slot);
create table headrace.flush_0 partition of headrace.flush (primary key (life_id, n)) for values in (0);
create table headrace.flush_1 partition of headrace.flush (primary key (life_id, n)) for values in (1);
create table headrace.flush_2 partition of headrace.flush (primary key (life_id, n)) for values in (2);
create table headrace.flush_3 partition of headrace.flush (primary key (life_id, n)) for values in (3);

create table headrace.count_base (              -- counts as of flush n of a life; later flush rows add to it
    life_id int primary key references headrace.life,
    n bigint not null,
    max_id bigint not null,
    at timestamptz not null default now(),
    count_type int[] not null,
    count_state smallint[] not null,
    count_minute int[] not null,
    count_value bigint[] not null
);

-- Keys and alerts ------------------------------------------------------------------------------------------------------------------------------

create table headrace.idempotency_key (         -- kept as long as its job and at least 24 h
    domain_id int not null,
    key text not null,
    job_id bigint not null,
    body_hash bytea not null,
    primary key (domain_id, key)
);

create table headrace.alert (                   -- written in the commit that settles the job
    alert_id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    job_id bigint not null,
    type_id int not null,
    seq int not null,
    kind text not null check (kind in ('job_error', 'job_aborted')),
    error jsonb
);
create index alert_by_type on headrace.alert (type_id, alert_id);

-- For people -----------------------------------------------------------------------------------------------------------------------------------

create function headrace.created_at(job_id bigint) returns timestamptz language sql immutable parallel safe as
    $$ select to_timestamp((job_id >> 22) / 1000.0 + 1735689600) $$;

create view headrace.job_state as               -- the state of every job: its newest event, or waiting when there is none
select j.job_id, d.name as domain, t.name as type, j.instance_id,
       case when e.state is null then 'waiting'
            when e.delete_minute * 60.0 <= extract(epoch from now()) then 'gone'
            else (array['waiting', 'processing', 'completed', 'error', 'aborted', 'gone'])[e.state] end as state,
       coalesce(e.seq, 0) as seq, coalesce(e.run, 1) as run, coalesce(e.attempt, 0) as attempt, coalesce(e.losses, 0) as losses,
       j.priority, headrace.created_at(j.job_id) as created_at, coalesce(e.available_at, j.available_at) as available_at,
       case when e.state > 2 then e.at end as settled_at, to_timestamp(e.delete_minute * 60.0) as delete_at, e.error
from headrace.job j
join headrace.job_type t using (type_id)
join headrace.domain d using (domain_id)
left join lateral (select * from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = (j.job_id & 7) order by e.seq desc limit 1) e on true;
