-- What was unsettled at one moment, so that a broker that takes over need not read history: it reads this, and what happened since.

create table headrace.checkpoint (              -- at most one: the newest
    single boolean primary key default true check (single),
    life_id int not null,                       -- the moment: after flush n of this life
    n bigint not null,
    side smallint not null check (side in (0, 1)),  -- which of the two chunk tables it is in
    chunks int not null,                        -- how many it has there
    max_id bigint not null,                     -- every job up to this id was stored then, or never will be
    floor timestamptz not null,                 -- no event that was stored since has an earlier time
    at timestamptz not null default now()
);

create table headrace.checkpoint_chunk (        -- numbers are packed, little-endian, 8 bytes each
    side smallint not null,
    life_id int not null,
    n bigint not null,
    chunk int not null,
    kind smallint not null check (kind between 1 and 4),  -- 1 ready, 2 waiting for a time, 3 something happened to them, 4 entries of kinds 1 and 2 that do not count
    type_id int,                                -- of kind 1, with the priority
    priority int,
    job_ids bytea not null,
    what bytea,                                 -- of kind 2: type_id << 32 | priority + 2^31
    due bytea                                   -- of kind 2: seconds since 1970, floating-point
) partition by list (side);
create table headrace.checkpoint_chunk_0 partition of headrace.checkpoint_chunk (primary key (life_id, n, chunk)) for values in (0);
create table headrace.checkpoint_chunk_1 partition of headrace.checkpoint_chunk (primary key (life_id, n, chunk)) for values in (1);
alter table headrace.checkpoint_chunk_0 alter column job_ids set storage external, alter column what set storage external, alter column due set storage external;
alter table headrace.checkpoint_chunk_1 alter column job_ids set storage external, alter column what set storage external, alter column due set storage external;

-- Events by time, for "what happened since": a few bytes for each 32 pages, since events lie in the order of time. Pages without a summary are read.
create function headrace.index_event_times(leaf text) returns void language plpgsql as $$
begin
    execute format('create index %I on headrace.%I using brin (at) with (pages_per_range = 32, autosummarize = on)', leaf || '_at', leaf);
end $$;
select headrace.index_event_times('event_' || name) from headrace.fact_range;

create function headrace.summarize_event_times() returns bigint language sql as $$
    select coalesce(sum(brin_summarize_new_values(index)), 0)::bigint
    from (select to_regclass('headrace.event_' || name || '_at') as index from headrace.fact_range) indexes where index is not null
$$;

-- Makes the leaves of one range, as add_range says, with the index by time. Safe to repeat.
create function headrace.open_range(class int, lo bigint, hi bigint, suffix text) returns boolean language plpgsql as $$
begin
    if not headrace.add_range(class, lo, hi, suffix) then
        return false;
    end if;
    perform headrace.index_event_times(format('event_%s_%s', class, suffix));
    return true;
end $$;

-- Empties one side, unless the newest checkpoint is there: a broker that slept since it looked must not take another one's away.
create function headrace.clear_checkpoint_side(wanted smallint) returns boolean language plpgsql as $$
begin
    execute format('lock table headrace.checkpoint_chunk_%s in access exclusive mode', wanted);
    if exists (select from headrace.checkpoint where side = wanted) then
        return false;
    end if;
    execute format('truncate headrace.checkpoint_chunk_%s', wanted);
    return true;
end $$;
