-- The statements of fill.py. Each begins with a line "-- name: NAME". One random number for each job, a hash of its number and the seed, decides everything:
-- bits 0-7 type, 8-17 story, 18-37 instance, 38-41 whether it has one, 42-51 pace (42-46 also priority), 52-54 error, 55-57 agent, 58-61 labels and result.

-- name: tables
create temp table fill_type (place int, type_id int, class smallint, completed_s float8, error_s float8, aborted_s float8);
create temp table fill_story (place int, story smallint, events smallint, last_s float8, state smallint);
create temp table fill_step (story smallint, seq smallint, after_s float8, kind smallint, state smallint, run smallint, attempt smallint, losses smallint, last boolean);
create temp table fill_error (place int, code text, text text, fingerprint text, traceback text);
create temp table fill_instance (place int, name text, shard smallint);
create temp table fill_chunk (
    number bigint, r bigint, job_id bigint, type_id int, instance_id text, created timestamptz, available_at timestamptz, pace float8,
    story smallint,     -- null: nothing happened to it
    state smallint,     -- where it stands in the end
    minute int          -- settled: minute from which it is gone
) on commit delete rows;

-- name: chunk
-- The jobs of one piece. $1 number of the first bigint, $2 how many int, $3 tick of its id bigint, $4 ticks between ids bigint, $5 seed bigint, $6 kind text.
insert into fill_chunk
select n.number, n.r, n.id | (coalesce(i.shard, n.number / 256 & 63)::bigint << 3) | t.class, t.type_id, i.name, n.created,
    case when n.kind = 'scheduled' then now() + (1 + (n.r >> 42 & 1023) * 0.7) * interval '1 hour' end,
    n.pace, s.story, coalesce(s.state, 1),
    ceil(extract(epoch from n.created + s.last_s * n.pace * interval '1 s' + case s.state when 3 then t.completed_s when 4 then t.error_s when 5 then t.aborted_s end * interval '1 s') / 60)
from (
    select o.number, o.id, o.r, $6::text as kind, 0.5 + (o.r >> 42 & 1023) / 1024.0 as pace, headrace.created_at(o.id) as created,
        case when $6 = 'settled' then (o.r >> 8 & 1023) % 1000 when $6 = 'scheduled' and (o.r >> 8 & 1023) % 50 = 0 then 1000 end as story_place
    from (
        select $1::bigint + g as number, ($3::bigint + g * $4::bigint) << 9 as id, hashint8extended($1::bigint + g, $5::bigint) & 9223372036854775807 as r
        from generate_series(0, $2::int - 1) g
    ) o
) n
join fill_type t on t.place = n.r & 255
left join fill_story s on s.place = n.story_place
left join fill_instance i on (n.r >> 38 & 15) < 6 and i.place = (n.r >> 18 & 1048575) % (select count(*) from fill_instance)

-- name: jobs
-- $1 size of the payloads in bytes, int.
insert into headrace.job (job_id, type_id, priority, available_at, instance_id, labels, payload)
select c.job_id, c.type_id, case when (c.r >> 42 & 31) = 0 then 10 else 0 end, case when c.story is null then c.available_at end, c.instance_id,
    case when (c.r >> 58 & 15) < 3 then jsonb_build_object('customer', 'c-' || (c.r >> 18 & 4095), 'source', (array['web', 'shop', 'import'])[1 + (c.r & 1) + (c.r >> 1 & 1)]) end,
    convert_to(rpad('{"order": ' || c.number || ', "note": "' || md5(c.r::text) || md5(c.number::text), greatest($1::int, 90) - 2, 'invoice and delivery note ') || '"}', 'UTF8')
from fill_chunk c order by c.job_id

-- name: events
-- $1 ids of agents, int[].
insert into headrace.event (job_id, at, seq, type_id, agent_id, delete_minute, kind, state, run, attempt, losses, available_at, lease_s, actor, reason, error, result)
select c.job_id, c.created + s.after_s * c.pace * interval '1 s', s.seq, c.type_id,
    case when s.seq > 1 or s.kind = 1 then ($1::int[])[1 + (c.r >> 55 & 7) % cardinality($1::int[])] end,
    case when s.last then c.minute end, s.kind, s.state, s.run, s.attempt, s.losses,
    case when s.kind = 3 and s.state = 1 then coalesce(c.available_at, c.created + (s.after_s + 5 * 2 ^ (s.attempt - 1)) * c.pace * interval '1 s') end,
    case when s.kind = 1 then 30 end,
    case when s.kind = 9 then 'operator' end, case when s.kind = 9 then 'the order was cancelled by the customer' end,
    case
        when s.kind = 3 then jsonb_build_object('code', e.code, 'message', format(e.text, c.number), 'fingerprint', e.fingerprint, 'traceback', e.traceback || e.code || ': ' || format(e.text, c.number))
        when s.kind = 4 then jsonb_build_object('code', 'timeout', 'message', 'the attempt took longer than its timeout', 'fingerprint', 'timeout')
        when s.kind = 5 then jsonb_build_object('code', 'lost', 'message', 'the agent was lost while it ran the job', 'fingerprint', 'lost')
    end,
    case when s.kind = 2 and (c.r >> 58 & 1) = 1 then convert_to('{"stored": true, "document": ' || c.number || '}', 'UTF8') end
from fill_chunk c join fill_step s using (story) left join fill_error e on e.place = c.r >> 52 & 7
order by c.job_id, s.seq

-- name: notes
-- The requests for the end of those that were aborted while they ran.
insert into headrace.note (job_id, at, lease_epoch, kind, actor, reason, data)
select c.job_id, c.created + (s.after_s - 1) * c.pace * interval '1 s', s.seq - 1, 1, 'operator', 'the order was cancelled by the customer', '30'
from fill_chunk c join fill_step s using (story) where s.kind = 9 and s.seq > 1
order by c.job_id

-- name: alerts
-- As the default settings want them: for jobs in error.
insert into headrace.alert (at, job_id, type_id, seq, kind, error)
select c.created + s.after_s * c.pace * interval '1 s', c.job_id, c.type_id, s.seq, 'job_error',
    case when s.kind = 3 then jsonb_build_object('code', e.code, 'message', format(e.text, c.number), 'fingerprint', e.fingerprint, 'traceback', e.traceback)
        else jsonb_build_object('code', 'timeout', 'message', 'the attempt took longer than its timeout', 'fingerprint', 'timeout') end
from fill_chunk c join fill_step s on s.story = c.story and s.last left join fill_error e on e.place = c.r >> 52 & 7
where s.state = 4 order by c.job_id

-- name: log_lines
-- $1 lines of an attempt on average, float8, $2 levels int[], $3 texts text[].
insert into headrace.log_line (job_id, at, lease_epoch, line_no, level, text)
select c.job_id, c.created + s.after_s * c.pace * interval '1 s' + l * interval '40 ms', s.seq, l,
    ($2::int[])[1 + (c.r + l) % cardinality($3::text[])], format(($3::text[])[1 + (c.r + l) % cardinality($3::text[])], c.number + l)
from fill_chunk c join fill_step s on s.story = c.story and s.kind = 1
cross join lateral generate_series(1, (2 * $1::float8 * (c.pace - 0.5) + 0.5)::int) l
order by c.job_id, s.seq, l

-- name: counts
-- What this piece changed, as a flush of the life. $1 life_id int, $2 n bigint.
insert into headrace.flush (life_id, slot, n, max_id, count_type, count_state, count_minute, count_delta)
select $1, 0, $2, (select max(job_id) from fill_chunk), array_agg(type_id), array_agg(state), array_agg(minute), array_agg(jobs)
from (select type_id, state, coalesce(minute, 0) as minute, count(*)::int as jobs from fill_chunk group by 1, 2, 3) c
