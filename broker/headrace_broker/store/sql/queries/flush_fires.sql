-- Stores ticks of schedules, and the jobs that they become, in one commit; if the life is still alive. A schedule that changed since it was read, or is being changed, is passed by.
--
-- Whether the previous job lives is looked at here, so the overlap policy is decided on what is durable. The key (schedule_id, nominal_at) of schedule_fire makes a tick that is
-- fired twice fail the whole statement; next_at, which rises with each, makes that a thing of bugs alone.
-- $1 life_id int, $2 n bigint, $3 seconds of a slot int, $4 max_id bigint,
-- $5 schedule_id int[], $6 version bigint[], $7 verb text[]: tick, missed, queued (one that waited for the previous job) or manual, $8 nominal timestamptz[],
-- $9 next_at timestamptz[] (of tick and missed), $10 request_id text[] (of manual),
-- $11 job_id bigint[], $12 bigint[]: type_id << 32 | priority + 2^31, $13 instance_id text[], $14 content_type text[], $15 labels text[] (JSON), $16 payload bytea[]
-- Indexes: primary keys of life, schedule, schedule_fire, the job leaves and flush. Locks: the life's row FOR SHARE; the schedules' rows, none of them waited for.
-- Returns one row: alive boolean, at timestamptz, fired text (JSON array: schedule_id, version, outcome, job_id, next_at, ticked_at and queued_at in seconds, aborting_id; null: none).
with fence as materialized (
    select from headrace.life where life_id = $1 and not dead and backend_pid = pg_backend_pid() for share
), given as materialized (
    select u.*, (u.what >> 32)::int as type_id, ((u.what & 4294967295) - 2147483648)::int as priority
    from (
        select unnest($5::int[]) as schedule_id, unnest($6::bigint[]) as version, unnest($7::text[]) as verb, unnest($8::timestamptz[]) as nominal_at,
            unnest($9::timestamptz[]) as next_at, unnest($10::text[]) as request_id,
            unnest($11::headrace.int8_array::bigint[]) as job_id, unnest($12::headrace.int8_array::bigint[]) as what, unnest($13::text[]) as instance_id,
            unnest($14::text[]) as content_type, unnest($15::text[]) as labels, unnest($16::headrace.bytea_array::bytea[]) as payload
    ) as u, fence
), held as materialized (
    select s.schedule_id, s.overlap, s.queued_at, s.last_job_id, s.last_job_id is not null and headrace.is_live(s.last_job_id) as lives
    from headrace.schedule s join given g on g.schedule_id = s.schedule_id and g.version = s.version
    where not s.deleted and (g.verb = 'manual' or s.paused_at is null)
        and (g.verb <> 'manual' or not exists (select from headrace.schedule_fire f where f.schedule_id = g.schedule_id and f.request_id = g.request_id))
    for no key update of s skip locked
), decided as materialized (
    select g.*, h.overlap, h.lives, h.last_job_id,
        case
            when g.verb in ('missed', 'manual') then g.verb
            when h.overlap = 'queue' and g.verb = 'tick' and h.queued_at is not null then 'skipped'  -- the one that waits has its turn first, and the job before may just have ended
            when not h.lives or h.overlap in ('allow', 'abort') then 'fired'
            when g.verb = 'queued' then 'waits'
            when h.overlap = 'queue' then 'queued'
            else 'skipped'
        end as outcome
    from given g join held h using (schedule_id)
), moved as (
    update headrace.schedule s set
        version = s.version + 1, changed_at = clock_timestamp(),
        next_at = case when d.verb in ('tick', 'missed') then d.next_at else s.next_at end,
        ticked_at = case when d.verb in ('tick', 'missed') then d.nominal_at else s.ticked_at end,
        fired_at = case when d.outcome = 'fired' then d.nominal_at else s.fired_at end,
        last_job_id = case when d.outcome = 'fired' then d.job_id else s.last_job_id end,
        queued_at = case when d.outcome = 'queued' then d.nominal_at when d.verb = 'queued' then null else s.queued_at end,
        aborting_id = case when d.outcome = 'fired' and d.overlap = 'abort' and d.lives then d.last_job_id else s.aborting_id end,
        fired = s.fired + (d.outcome in ('fired', 'manual'))::int, skipped = s.skipped + (d.outcome in ('skipped', 'missed'))::int
    from decided d where s.schedule_id = d.schedule_id and d.outcome <> 'waits'
    returning s.schedule_id, s.version, s.next_at, s.ticked_at, s.queued_at, s.aborting_id, d.outcome, case when d.outcome in ('fired', 'manual') then d.job_id end as job_id
), fires as (
    insert into headrace.schedule_fire (schedule_id, nominal_at, request_id, outcome, job_id)
    select schedule_id, nominal_at, request_id, outcome, case when outcome in ('fired', 'manual') then job_id end from decided where outcome not in ('waits', 'queued')
), jobs as (
    insert into headrace.job (job_id, type_id, priority, instance_id, content_type, labels, payload)
    select job_id, type_id, priority, instance_id, content_type, labels::jsonb, payload from decided where outcome in ('fired', 'manual')
), counted as (
    select coalesce(array_agg(type_id), '{}') as types, coalesce(array_agg(1::smallint), '{}') as states, coalesce(array_agg(0), '{}') as minutes, coalesce(array_agg(n::int), '{}') as deltas
    from (select type_id, count(*) as n from decided where outcome in ('fired', 'manual') group by type_id) per_type
), flush as (
    insert into headrace.flush (life_id, n, slot, max_id, count_type, count_state, count_minute, count_delta)
    select $1, $2, (date_part('epoch', now())::bigint / $3::int & 3)::smallint, $4, types, states, minutes, deltas from counted, fence
)
select exists (select from fence) as alive, now() as at, (select coalesce(json_agg(json_build_array(schedule_id, version, outcome, job_id, extract(epoch from next_at),
    extract(epoch from ticked_at), extract(epoch from queued_at), aborting_id)), '[]')::text from moved) as fired
