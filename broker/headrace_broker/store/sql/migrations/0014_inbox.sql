-- The submit door: programs submit jobs in transactions of their own, and the owner of the queue takes them up after their commit.

create table headrace.inbox (                   -- what came through the doors; rows go once they are taken up
    inbox_id bigint generated always as identity primary key,
    xid xid8 not null default pg_current_xact_id(),  -- the transaction: whether it is finished, a snapshot tells
    at timestamptz not null default clock_timestamp(),
    kind smallint not null check (kind in (1, 2)),   -- 1 a job is submitted, 2 a job was completed
    domain text,                                -- of 1
    spec jsonb,                                 -- of 1: fields of JobSpec by their names on the wire, without the payload
    payload bytea,                              -- of 1
    job_id bigint,                              -- of 2
    lease_epoch int,                            -- of 2
    check (case kind when 1 then domain is not null and spec is not null else job_id is not null and lease_epoch > 0 end)
) with (autovacuum_vacuum_scale_factor = 0.05);
create index inbox_by_xid on headrace.inbox (xid, inbox_id);

create table headrace.inbox_result (            -- what became of a row of kind 1: its job, or why there is none
    inbox_id bigint primary key,
    at timestamptz not null default now(),
    job_id bigint,
    reason text,                                -- the stable reason of a refusal, as on the wire
    message text,
    check ((job_id is null) <> (reason is null))
);

-- How far the inbox is taken up: only ever inserted, in the commit that stores what was taken; the newest counts, older ones are deleted in passes. An updated row would leave
-- a dead version with every commit, which nobody can clean up while somebody else's transaction is open.
create table headrace.inbox_cursor (
    cursor_no bigint generated always as identity primary key,
    done pg_snapshot not null,                  -- every row of a transaction that it sees is taken
    upto pg_snapshot,                           -- set: of those that it sees as well,
    last_xid bigint not null default 0,         -- the rows up to this one are taken, in the order of (xid, inbox_id)
    last_id bigint not null default 0
);
insert into headrace.inbox_cursor (done) values ('1:1:');

-- The door. Runs with its owner's rights: who may execute it needs no others.
create function headrace.submit_job(
    type text, payload jsonb default null, payload_bytes bytea default null, domain text default 'default', instance_id text default null, priority int default 0,
    delay interval default null, start_at timestamptz default null, idempotency_key text default null, labels jsonb default null, content_type text default null,
    trace_context text default null, more jsonb default null, wake boolean default true
) returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    spec jsonb;
    wrong text;
    found bigint;
begin
    wrong := case
        when type is null or type !~ '^[A-Za-z0-9._:/-]{1,200}$' then format('type: 1 to 200 characters of A-Z a-z 0-9 . _ : / -, found %L', left(type, 60))
        when domain is null or domain !~ '^[A-Za-z0-9._-]{1,100}$' then format('domain: 1 to 100 characters of A-Z a-z 0-9 . _ -, found %L', left(domain, 60))
        when payload is not null and payload_bytes is not null then 'payload_bytes: payload is set too; set one of them'
        when octet_length(payload_bytes) > 8388608 or octet_length(payload::text) > 8388608 then 'payload: at most 8 MiB; store it elsewhere and submit where it is'
        when priority is null or priority not between -1000000 and 1000000 then format('priority: between -1,000,000 and 1,000,000, found %s', priority)
        when length(instance_id) > 200 then 'instance_id: at most 200 characters'
        when length(idempotency_key) > 200 then 'idempotency_key: at most 200 characters'
        when idempotency_key like 'inbox:%' then 'idempotency_key: keys that begin with inbox: are taken by the door itself'
        when length(content_type) > 100 then 'content_type: at most 100 characters'
        when length(trace_context) > 100 then 'trace_context: at most 100 characters'
        when delay is not null and start_at is not null then 'start_at: delay is set too; set one of them'
        when delay < interval '0' or delay > interval '10 years' then 'delay: between 0 and 10 years'
        when start_at is not null and (not isfinite(start_at) or start_at > clock_timestamp() + interval '10 years') then 'start_at: at most 10 years from now'
        when labels is not null and jsonb_typeof(labels) <> 'object' then 'labels: an object of texts'
        when more is not null and jsonb_typeof(more) <> 'object' then 'more: an object with further fields of JobSpec'
        when more ?| array['type', 'payload', 'idempotency_key', 'idempotencyKey', 'priority', 'labels'] then 'more: has a field that is an argument of its own'
    end;
    if wrong is null and labels is not null then
        select case when count(*) > 32 then 'labels: at most 32'
                    when bool_or(length(l.key) not between 1 and 63) then 'labels: a key has 1 to 63 characters'
                    when bool_or(jsonb_typeof(l.value) <> 'string' or length(l.value #>> '{}') > 200) then 'labels: a value is a text of at most 200 characters' end
        into wrong from jsonb_each(labels) l;
    end if;
    if wrong is not null then
        raise exception using errcode = 'invalid_parameter_value', message = 'headrace.submit_job: ' || wrong;
    end if;
    spec := coalesce(more, '{}') || jsonb_strip_nulls(jsonb_build_object(
        'type', type, 'instance_id', instance_id, 'priority', nullif(priority, 0), 'idempotency_key', idempotency_key, 'labels', labels, 'content_type', content_type,
        'trace_context', trace_context, 'delay', round(extract(epoch from delay)::numeric, 6)::text || 's',
        'start_at', to_char(start_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    ));
    insert into headrace.inbox (kind, domain, spec, payload)
    values (1, domain, spec, coalesce(payload_bytes, convert_to(payload::text, 'UTF8')))
    returning inbox_id into found;
    if wake then  -- what is prepared for a two-phase commit must not notify: it is found by looking
        perform pg_notify('headrace_inbox', '');
    end if;
    return found;
end $$;

-- The job of a row that submit_job returned; null: it is not taken up yet, or was so more than a day ago. Raises HR002 when the job was refused.
create function headrace.submitted_job(inbox_id bigint) returns bigint language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    result record;
begin
    select r.job_id, r.reason, r.message into result from headrace.inbox_result r where r.inbox_id = submitted_job.inbox_id;
    if result.reason is not null then
        raise exception using errcode = 'HR002', message = 'headrace: the job was refused: ' || result.message, detail = result.reason;
    end if;
    return result.job_id;
end $$;

revoke execute on function headrace.submit_job(text, jsonb, bytea, text, text, int, interval, timestamptz, text, jsonb, text, text, jsonb, boolean) from public;
revoke execute on function headrace.submitted_job(bigint) from public;
