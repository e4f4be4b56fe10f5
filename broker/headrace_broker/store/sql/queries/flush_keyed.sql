-- Stores jobs that carry an idempotency key: those whose key is new, and no others; their counters with them; if the life is still alive.
--
-- Rows must come sorted by (domain_id, key), each key once, so that two brokers never wait for each other in a circle.
-- $1 life_id int, $2 n bigint, $3 slot smallint, $4 max_id bigint,
-- $5 domain_id int[], $6 key text[], $7 body_hash bytea[],
-- $8 job_id bigint[], $9 bigint[]: type_id << 32 | priority + 2^31, $10 available_at timestamptz[], $11 instance_id text[], $12 content_type text[],
-- $13 labels text[] (JSON), $14 trace_context text[], $15 more text[] (JSON), $16 payload bytea[]
-- Indexes: primary keys of life, idempotency_key, the job leaves and flush. Locks: the life's row FOR SHARE; waits for uncommitted rows with the same key.
-- Returns one row: alive boolean, at timestamptz, stored bigint[] (ids of the jobs that are now stored).
with fence as materialized (
    select from headrace.life where life_id = $1 and not dead and backend_pid = pg_backend_pid() for share
), given as materialized (
    select u.*, (u.what >> 32)::int as type_id, ((u.what & 4294967295) - 2147483648)::int as priority
    from (
        select unnest($5::int[]) as domain_id, unnest($6::text[]) as key, unnest($7::bytea[]) as body_hash,
            unnest($8::headrace.int8_array::bigint[]) as job_id, unnest($9::headrace.int8_array::bigint[]) as what,
            unnest($10::timestamptz[]) as available_at, unnest($11::text[]) as instance_id, unnest($12::text[]) as content_type, unnest($13::text[]) as labels,
            unnest($14::text[]) as trace_context, unnest($15::text[]) as more, unnest($16::headrace.bytea_array::bytea[]) as payload
    ) as u, fence
), keys as (
    insert into headrace.idempotency_key (domain_id, key, job_id, body_hash)
    select domain_id, key, job_id, body_hash from given
    on conflict do nothing
    returning job_id
), jobs as (
    insert into headrace.job (job_id, type_id, priority, available_at, instance_id, content_type, idempotency_key, labels, trace_context, more, payload)
    select g.job_id, g.type_id, g.priority, g.available_at, g.instance_id, g.content_type, g.key, g.labels::jsonb, g.trace_context, g.more::jsonb, g.payload
    from given g join keys using (job_id)
    returning job_id, type_id
), counted as (
    select coalesce(array_agg(type_id), '{}') as types, coalesce(array_agg(1::smallint), '{}') as states, coalesce(array_agg(0), '{}') as minutes, coalesce(array_agg(n::int), '{}') as deltas
    from (select type_id, count(*) as n from jobs group by type_id) per_type
), flush as (
    insert into headrace.flush (life_id, n, slot, max_id, count_type, count_state, count_minute, count_delta)
    select $1, $2, $3, $4, types, states, minutes, deltas from counted, fence
)
select exists (select from fence) as alive, now() as at, (select coalesce(array_agg(job_id), '{}') from jobs) as stored
