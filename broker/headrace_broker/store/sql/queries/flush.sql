-- Stores one batch of facts and its counters in one commit, if the life is still alive; else stores nothing.
--
-- No ON CONFLICT: a taken key (an event whose seq exists, a job id given out twice) fails the whole statement, so the counters, which the owner computed for
-- all rows, are right whenever anything is stored. Columns that no row of the batch uses are passed as empty arrays: unnest fills them with nulls.
-- The domains are those arrays, with encoders of our own (store/arrays.py).
-- unnest stands in the select list, where Postgres walks all arrays in step; in FROM it would put each array into a store of its own first (8 % of the CPU).
--
-- $1 life_id int, $2 n bigint, $3 seconds of a slot int, $4 max_id bigint,
-- $5..$8 counts by type int[], state smallint[], minute int[], delta int[]
-- $9 lease of the grants in seconds, real
-- jobs:   $10 job_id bigint[], $11 bigint[]: type_id << 32 | priority + 2^31, $12 available_at timestamptz[], $13 instance_id text[], $14 content_type text[],
--         $15 labels text[] (JSON), $16 trace_context text[], $17 more text[] (JSON), $18 payload bytea[]
-- events: $19 job_id bigint[], $20 bigint[]: seq << 32 | delete_minute or 0, $21 bigint[]: type_id << 32 | agent_id or 0,
--         $22 bigint[]: kind | state << 8 | run << 16 | attempt << 32 | losses << 48, $23 result bytea[], $24 available_at timestamptz[], $25 actor text[],
--         $26 reason text[], $27 error text[] (JSON)
-- notes:  $28 job_id bigint[], $29 lease_epoch int[], $30 kind smallint[], $31 actor text[], $32 reason text[], $33 data bytea[]
-- alerts: $34 job_id bigint[], $35 type_id int[], $36 seq int[], $37 kind text[], $38 error text[] (JSON)
-- Indexes: primary keys of life, of the job and event leaves, and of flush. Locks: the life's row FOR SHARE.
-- Returns one row: alive boolean, at timestamptz (time of the commit's start).
with fence as materialized (
    select from headrace.life where life_id = $1 and not dead and backend_pid = pg_backend_pid() for share
), jobs as (
    insert into headrace.job (job_id, type_id, priority, available_at, instance_id, content_type, labels, trace_context, more, payload)
    select u.job_id, (u.what >> 32)::int, ((u.what & 4294967295) - 2147483648)::int, u.available_at, u.instance_id, u.content_type, u.labels::jsonb, u.trace_context, u.more::jsonb, u.payload
    from (
        select unnest($10::headrace.int8_array::bigint[]) as job_id, unnest($11::headrace.int8_array::bigint[]) as what,
            unnest($12::timestamptz[]) as available_at, unnest($13::text[]) as instance_id, unnest($14::text[]) as content_type, unnest($15::text[]) as labels, unnest($16::text[]) as trace_context, unnest($17::text[]) as more, unnest($18::headrace.bytea_array::bytea[]) as payload
    ) as u, fence
), events as (
    insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses, agent_id, lease_s, delete_minute, result, available_at, actor, reason, error)
    select u.job_id, (u.place >> 32)::int, (u.who >> 32)::int, (u.step & 255)::smallint, (u.step >> 8 & 255)::smallint, (u.step >> 16 & 65535)::smallint,
        (u.step >> 32 & 65535)::smallint, (u.step >> 48)::smallint, nullif((u.who & 2147483647)::int, 0), case when u.step & 255 = 1 then $9::real end,
        nullif((u.place & 2147483647)::int, 0), u.result, u.available_at, u.actor, u.reason, u.error::jsonb
    from (
        select unnest($19::headrace.int8_array::bigint[]) as job_id, unnest($20::headrace.int8_array::bigint[]) as place,
            unnest($21::headrace.int8_array::bigint[]) as who, unnest($22::headrace.int8_array::bigint[]) as step, unnest($23::headrace.bytea_array::bytea[]) as result,
            unnest($24::timestamptz[]) as available_at, unnest($25::text[]) as actor, unnest($26::text[]) as reason, unnest($27::text[]) as error
    ) as u, fence
), notes as (
    insert into headrace.note (job_id, lease_epoch, kind, actor, reason, data)
    select u.* from (
        select unnest($28::headrace.int8_array::bigint[]) as job_id, unnest($29::int[]) as lease_epoch, unnest($30::smallint[]) as kind, unnest($31::text[]) as actor,
            unnest($32::text[]) as reason, unnest($33::bytea[]) as data
    ) as u, fence
), alerts as (
    insert into headrace.alert (job_id, type_id, seq, kind, error)
    select u.job_id, u.type_id, u.seq, u.kind, u.error::jsonb from (
        select unnest($34::bigint[]) as job_id, unnest($35::int[]) as type_id, unnest($36::int[]) as seq, unnest($37::text[]) as kind, unnest($38::text[]) as error
    ) as u, fence
), flush as (
    insert into headrace.flush (life_id, n, slot, max_id, count_type, count_state, count_minute, count_delta)
    select $1, $2, (date_part('epoch', now())::bigint / $3::int & 3)::smallint, $4, $5, $6, $7, $8 from fence
)
select exists (select from fence) as alive, now() as at
