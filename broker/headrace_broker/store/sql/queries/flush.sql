-- Stores one batch of facts and its counters in one commit, if the life is still alive; else stores nothing.
--
-- No ON CONFLICT: a taken key (an event whose seq exists, a job id given out twice) fails the whole statement, so the counters, which the owner computed for
-- all rows, are right whenever anything is stored. Columns that no row of the batch uses are passed as empty arrays: unnest fills them with nulls.
-- unnest stands in the select list, where Postgres walks all arrays in step; in FROM it would put each array into a store of its own first (8 % of the CPU).
--
-- $1 life_id int, $2 n bigint, $3 slot smallint, $4 max_id bigint,
-- $5..$8 counts by type int[], state smallint[], minute int[], delta int[]
-- jobs:   $9 job_id bigint[], $10 type_id int[], $11 priority int[], $12 available_at timestamptz[], $13 instance_id text[], $14 content_type text[],
--         $15 labels text[] (JSON), $16 trace_context text[], $17 payload bytea[]
-- events: $18 job_id bigint[], $19 seq int[], $20 type_id int[], $21 kind smallint[], $22 state smallint[], $23 run smallint[], $24 attempt smallint[],
--         $25 losses smallint[], $26 agent_id int[], $27 lease_s real[], $28 delete_minute int[], $29 result bytea[], $30 available_at timestamptz[],
--         $31 actor text[], $32 reason text[], $33 error text[] (JSON)
-- notes:  $34 job_id bigint[], $35 lease_epoch int[], $36 kind smallint[], $37 actor text[], $38 reason text[], $39 data bytea[]
-- alerts: $40 job_id bigint[], $41 type_id int[], $42 seq int[], $43 kind text[], $44 error text[] (JSON)
-- Indexes: primary keys of life, of the job and event leaves, and of flush. Locks: the life's row FOR SHARE.
-- Returns one row: alive boolean, at timestamptz (time of the commit's start).
with fence as materialized (
    select from headrace.life where life_id = $1 and not dead and backend_pid = pg_backend_pid() for share
), jobs as (
    insert into headrace.job (job_id, type_id, priority, available_at, instance_id, content_type, labels, trace_context, payload)
    select u.job_id, u.type_id, u.priority, u.available_at, u.instance_id, u.content_type, u.labels::jsonb, u.trace_context, u.payload
    from (
        select unnest($9::bigint[]) as job_id, unnest($10::int[]) as type_id, unnest($11::int[]) as priority, unnest($12::timestamptz[]) as available_at,
            unnest($13::text[]) as instance_id, unnest($14::text[]) as content_type, unnest($15::text[]) as labels, unnest($16::text[]) as trace_context,
            unnest($17::bytea[]) as payload
    ) as u, fence
), events as (
    insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses, agent_id, lease_s, delete_minute, result, available_at, actor, reason, error)
    select u.job_id, u.seq, u.type_id, u.kind, u.state, u.run, u.attempt, u.losses, u.agent_id, u.lease_s, u.delete_minute, u.result, u.available_at, u.actor, u.reason,
        u.error::jsonb
    from (
        select unnest($18::bigint[]) as job_id, unnest($19::int[]) as seq, unnest($20::int[]) as type_id, unnest($21::smallint[]) as kind,
            unnest($22::smallint[]) as state, unnest($23::smallint[]) as run, unnest($24::smallint[]) as attempt, unnest($25::smallint[]) as losses,
            unnest($26::int[]) as agent_id, unnest($27::real[]) as lease_s, unnest($28::int[]) as delete_minute, unnest($29::bytea[]) as result,
            unnest($30::timestamptz[]) as available_at, unnest($31::text[]) as actor, unnest($32::text[]) as reason, unnest($33::text[]) as error
    ) as u, fence
), notes as (
    insert into headrace.note (job_id, lease_epoch, kind, actor, reason, data)
    select u.* from (
        select unnest($34::bigint[]) as job_id, unnest($35::int[]) as lease_epoch, unnest($36::smallint[]) as kind, unnest($37::text[]) as actor,
            unnest($38::text[]) as reason, unnest($39::bytea[]) as data
    ) as u, fence
), alerts as (
    insert into headrace.alert (job_id, type_id, seq, kind, error)
    select u.job_id, u.type_id, u.seq, u.kind, u.error::jsonb from (
        select unnest($40::bigint[]) as job_id, unnest($41::int[]) as type_id, unnest($42::int[]) as seq, unnest($43::text[]) as kind, unnest($44::text[]) as error
    ) as u, fence
), flush as (
    insert into headrace.flush (life_id, n, slot, max_id, count_type, count_state, count_minute, count_delta)
    select $1, $2, $3, $4, $5, $6, $7, $8 from fence
)
select exists (select from fence) as alive, now() as at
