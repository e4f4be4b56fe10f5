-- Stores jobs that carry a key or are tied to others: those whose keys are free, and no others; their counters with them; if the life is still alive.
--
-- An idempotency key is free when it was never used. A unique key is free when nobody holds it, or its holder is settled or gone: then the holder's row is replaced, so that
-- no ending has to release anything. The unique key is taken before the idempotency key is written down, since a job that is refused for it leaves no key behind.
-- Each key comes once; rows are inserted in the order of their keys, so that two brokers never wait for each other in a circle.
-- $1 life_id int, $2 n bigint, $3 seconds of a slot int, $4 max_id bigint,
-- $5 domain_id int[], $6 idempotency key text[] (null: none), $7 body_hash bytea[],
-- $8 job_id bigint[], $9 bigint[]: type_id << 32 | priority + 2^31, $10 available_at timestamptz[], $11 instance_id text[], $12 content_type text[],
-- $13 labels text[] (JSON), $14 trace_context text[], $15 more text[] (JSON; here unique_key, parent_id, depends_on and batch_id count), $16 payload bytea[]
-- Indexes: primary keys of life, idempotency_key, unique_key, edge, the job leaves and flush. Locks: the life's row FOR SHARE; waits for uncommitted rows with the same key.
-- Returns one row: alive boolean, at timestamptz, stored bigint[] (ids of the jobs that are now stored).
with fence as materialized (
    select from headrace.life where life_id = $1 and not dead and backend_pid = pg_backend_pid() for share
), given as materialized (
    select u.*, (u.what >> 32)::int as type_id, ((u.what & 4294967295) - 2147483648)::int as priority, u.more ->> 'unique_key' as unique_key
    from (
        select unnest($5::int[]) as domain_id, unnest($6::text[]) as key, unnest($7::bytea[]) as body_hash,
            unnest($8::headrace.int8_array::bigint[]) as job_id, unnest($9::headrace.int8_array::bigint[]) as what,
            unnest($10::timestamptz[]) as available_at, unnest($11::text[]) as instance_id, unnest($12::text[]) as content_type, unnest($13::text[]) as labels,
            unnest($14::text[]) as trace_context, unnest($15::text[])::jsonb as more, unnest($16::headrace.bytea_array::bytea[]) as payload
    ) as u, fence
), fresh as materialized (
    select g.* from given g
    where g.unique_key is null or g.key is null or not exists (select from headrace.idempotency_key k where k.domain_id = g.domain_id and k.key = g.key)
), won as (
    insert into headrace.unique_key as held (domain_id, key, job_id)
    select domain_id, unique_key, job_id from fresh where unique_key is not null order by domain_id, unique_key
    on conflict (domain_id, key) do update set job_id = excluded.job_id where not headrace.is_live(held.job_id)
    returning job_id
), keys as (
    insert into headrace.idempotency_key (domain_id, key, job_id, body_hash)
    select domain_id, key, job_id, body_hash from fresh f where key is not null and (unique_key is null or exists (select from won w where w.job_id = f.job_id))
    order by domain_id, key
    on conflict do nothing
    returning job_id
), taken as materialized (
    select f.* from fresh f
    where (f.unique_key is null or exists (select from won w where w.job_id = f.job_id)) and (f.key is null or exists (select from keys k where k.job_id = f.job_id))
), jobs as (
    insert into headrace.job (job_id, type_id, priority, available_at, instance_id, content_type, idempotency_key, labels, trace_context, more, payload)
    select job_id, type_id, priority, available_at, instance_id, content_type, key, labels::jsonb, trace_context, more, payload from taken
), edges as (
    insert into headrace.edge (parent_id, child_id, kind)
    select jsonb_array_elements(more -> 'depends_on')::bigint, job_id, 1 from taken where more ? 'depends_on'
    union all select (more ->> 'parent_id')::bigint, job_id, 2 from taken where more ? 'parent_id'
    union all select job_id, (more ->> 'batch_id')::bigint, 3 from taken where more ? 'batch_id'
), counted as (
    select coalesce(array_agg(type_id), '{}') as types, coalesce(array_agg(1::smallint), '{}') as states, coalesce(array_agg(0), '{}') as minutes, coalesce(array_agg(n::int), '{}') as deltas
    from (select type_id, count(*) as n from taken group by type_id) per_type
), flush as (
    insert into headrace.flush (life_id, n, slot, max_id, count_type, count_state, count_minute, count_delta)
    select $1, $2, (date_part('epoch', now())::bigint / $3::int & 3)::smallint, $4, types, states, minutes, deltas from counted, fence
)
select exists (select from fence) as alive, now() as at, (select coalesce(array_agg(job_id), '{}') from taken) as stored
