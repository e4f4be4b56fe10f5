-- Stores one batch of facts and its counters in one commit, if the life is still alive; else stores nothing.
--
-- No ON CONFLICT: a taken key (an event whose seq exists, a job id given out twice) fails the whole statement, so the counters, which the owner computed for
-- all rows, are right whenever anything is stored. Columns that no row of the batch uses are passed as empty arrays: unnest fills them with nulls.
-- The domains are those arrays, with encoders of our own (store/arrays.py).
-- unnest stands in the select list, where Postgres walks all arrays in step; in FROM it would put each array into a store of its own first (8 % of the CPU).
--
-- $1 life_id int, $2 n bigint, $3 slot smallint, $4 max_id bigint,
-- $5..$8 counts by type int[], state smallint[], minute int[], delta int[]
-- $9 lease of the grants in seconds, real
-- jobs:   $10 job_id bigint[], $11 bigint[]: type_id << 32 | priority + 2^31, $12 available_at timestamptz[], $13 instance_id text[], $14 content_type text[],
--         $15 labels text[] (JSON), $16 trace_context text[], $17 payload bytea[]
-- events: $18 job_id bigint[], $19 bigint[]: seq << 32 | delete_minute or 0, $20 bigint[]: type_id << 32 | agent_id or 0,
--         $21 bigint[]: kind | state << 8 | run << 16 | attempt << 32 | losses << 48, $22 result bytea[], $23 available_at timestamptz[], $24 actor text[],
--         $25 reason text[], $26 error text[] (JSON)
-- notes:  $27 job_id bigint[], $28 lease_epoch int[], $29 kind smallint[], $30 actor text[], $31 reason text[], $32 data bytea[]
-- alerts: $33 job_id bigint[], $34 type_id int[], $35 seq int[], $36 kind text[], $37 error text[] (JSON)
-- Indexes: primary keys of life, of the job and event leaves, and of flush. Locks: the life's row FOR SHARE.
-- Returns one row: alive boolean, at timestamptz (time of the commit's start).
with fence as materialized (
    select from headrace.life where life_id = $1 and not dead and backend_pid = pg_backend_pid() for share
), jobs as (
    insert into headrace.job (job_id, type_id, priority, available_at, instance_id, content_type, labels, trace_context, payload)
    select u.job_id, (u.what >> 32)::int, ((u.what & 4294967295) - 2147483648)::int, u.available_at, u.instance_id, u.content_type, u.labels::jsonb, u.trace_context, u.payload
    from (
        select unnest($10::headrace.int8_array::bigint[]) as job_id, unnest($11::headrace.int8_array::bigint[]) as what,
            unnest($12::timestamptz[]) as available_at, unnest($13::text[]) as instance_id, unnest($14::text[]) as content_type, unnest($15::text[]) as labels, unnest($16::text[]) as trace_context, unnest($17::headrace.bytea_array::bytea[]) as payload
    ) as u, fence
), events as (
    insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses, agent_id, lease_s, delete_minute, result, available_at, actor, reason, error)
    select u.job_id, (u.place >> 32)::int, (u.who >> 32)::int, (u.step & 255)::smallint, (u.step >> 8 & 255)::smallint, (u.step >> 16 & 65535)::smallint,
        (u.step >> 32 & 65535)::smallint, (u.step >> 48)::smallint, nullif((u.who & 2147483647)::int, 0), case when u.step & 255 = 1 then $9::real end,
        nullif((u.place & 2147483647)::int, 0), u.result, u.available_at, u.actor, u.reason, u.error::jsonb
    from (
        select unnest($18::headrace.int8_array::bigint[]) as job_id, unnest($19::headrace.int8_array::bigint[]) as place,
            unnest($20::headrace.int8_array::bigint[]) as who, unnest($21::headrace.int8_array::bigint[]) as step, unnest($22::headrace.bytea_array::bytea[]) as result,
            unnest($23::timestamptz[]) as available_at, unnest($24::text[]) as actor, unnest($25::text[]) as reason, unnest($26::text[]) as error
    ) as u, fence
), notes as (
    insert into headrace.note (job_id, lease_epoch, kind, actor, reason, data)
    select u.* from (
        select unnest($27::headrace.int8_array::bigint[]) as job_id, unnest($28::int[]) as lease_epoch, unnest($29::smallint[]) as kind, unnest($30::text[]) as actor,
            unnest($31::text[]) as reason, unnest($32::bytea[]) as data
    ) as u, fence
), alerts as (
    insert into headrace.alert (job_id, type_id, seq, kind, error)
    select u.job_id, u.type_id, u.seq, u.kind, u.error::jsonb from (
        select unnest($33::bigint[]) as job_id, unnest($34::int[]) as type_id, unnest($35::int[]) as seq, unnest($36::text[]) as kind, unnest($37::text[]) as error
    ) as u, fence
), flush as (
    insert into headrace.flush (life_id, n, slot, max_id, count_type, count_state, count_minute, count_delta)
    select $1, $2, $3, $4, $5, $6, $7, $8 from fence
)
select exists (select from fence) as alive, now() as at
