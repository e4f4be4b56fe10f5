-- Several owners beside each other: each life is for one shard, and a broker process has one for each of them. There is one row for each shard that has an owner of its own;
-- the first one takes what the 64 rows meant, which always had the same owner.

delete from headrace.shard where shard > 0;

alter table headrace.life
    add column shard smallint not null default 0,   -- which shard it owns or stands by for
    add column broker text not null default '';     -- the process, the same for all its lives; empty: a broker that did not say so

create table headrace.broker_beat (               -- brokers say each second that they are awake: who hangs is given no shard
    broker text primary key,
    beat_at timestamptz not null
);

-- A checkpoint for each shard, in two sides of its own: 2 * shard and the one after it. `single` and its key are what older brokers insert by.
alter table headrace.checkpoint add column shard smallint not null default 0, add constraint checkpoint_shard_key unique (shard);
alter table headrace.checkpoint drop constraint checkpoint_side_check, add constraint checkpoint_side_check check (side / 2 = shard);

-- Each shard takes up the inbox by itself, and passes over what is not its own.
alter table headrace.inbox_cursor add column shard smallint not null default 0;

-- The duty of alerts is each shard's. `one` and its key are what older brokers know the row by.
alter table headrace.alert_state add column shard smallint not null default 0, add constraint alert_state_shard_key unique (shard);

-- Makes a queue one of so many shards, while no broker runs: the caller sees to that, and holds what keeps brokers from beginning. Counts go to the new shards by the domains
-- of their types; the next owners read all of history once.
create function headrace.set_shards(wanted int) returns void language plpgsql as $$
declare
    newest bigint;
    made int;
    former int;
    alerts record;
begin
    if wanted not between 1 and 64 then
        raise exception using errcode = 'invalid_parameter_value', message = format('a queue has 1 to 64 shards, found %s', wanted);
    end if;
    if wanted > 1 and exists (select from pg_constraint where conrelid = 'headrace.checkpoint'::regclass and conname = 'checkpoint_pkey') then
        raise exception using errcode = 'object_not_in_prerequisite_state', message = 'several shards need migrations of the second phase: run headrace-broker migrate --phase post';
    end if;
    select count(*) into former from headrace.shard;
    -- Alerts are in the groups up to one number from now on: those below it that are in none yet, of shards whose last alert is older, get new numbers.
    select max(term) + 1 as term, max(version) + 1 as version, max(cursor) as cursor, min(cursor) as oldest into alerts from headrace.alert_state;
    with late as (
        delete from headrace.alert a using headrace.job_type t, headrace.alert_state s
        where a.alert_id > alerts.oldest and a.alert_id <= alerts.cursor and t.type_id = a.type_id and s.shard = t.domain_id % former and a.alert_id > s.cursor
        returning a.alert_id, a.at, a.job_id, a.type_id, a.seq, a.kind, a.error
    )
    insert into headrace.alert (at, job_id, type_id, seq, kind, error) select at, job_id, type_id, seq, kind, error from late order by alert_id;
    delete from headrace.alert_state;
    insert into headrace.alert_state (shard, term, version, cursor) select n, alerts.term, alerts.version, alerts.cursor from generate_series(0, wanted - 1) n;
    insert into headrace.domain (name)  -- what is set for a domain that there is not yet lies in its shard too
    select a.name from (select domain from headrace.alert_rule union select domain from headrace.alert_channel union select domain from headrace.alert_silence) a (name)
    where not exists (select from headrace.domain d where d.name = a.name);
    create temporary table moved on commit drop as
    with tail as materialized (
        select f.* from headrace.life l left join headrace.count_base b using (life_id)
        cross join lateral (select * from headrace.flush where life_id = l.life_id and n > coalesce(b.n, 0)) f
    ), parts as (
        select u.* from headrace.count_base b, unnest(b.count_type, b.count_state, b.count_minute, b.count_value) as u (type_id, state, minute, n)
        union all
        select u.* from tail, unnest(tail.count_type, tail.count_state, tail.count_minute, tail.count_delta) as u (type_id, state, minute, n)
        union all
        select null, null, null, greatest((select max(max_id) from tail), (select max(max_id) from headrace.count_base), 0)
    )
    select type_id, state, minute, sum(n)::bigint as n from parts group by 1, 2, 3;
    select n into newest from moved where type_id is null;
    insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value)
    select l.life_id, greatest(f.n, b.n), 0, '{}', '{}', '{}', '{}'
    from headrace.life l left join headrace.count_base b using (life_id)
    left join lateral (select n from headrace.flush where life_id = l.life_id order by n desc limit 1) f on true
    where f.n is not null or b.n is not null
    on conflict (life_id) do update set n = excluded.n, max_id = 0, count_type = '{}', count_state = '{}', count_minute = '{}', count_value = '{}', at = now();
    update headrace.life set dead = true where not dead;
    delete from headrace.checkpoint;
    if (select count(*) from headrace.shard) = 1 then
        insert into headrace.inbox_cursor (done, upto, last_xid, last_id, shard)
        select c.done, c.upto, c.last_xid, c.last_id, n from generate_series(1, wanted - 1) n,
            lateral (select * from headrace.inbox_cursor where shard = 0 order by cursor_no desc limit 1) c;
    else  -- what is there is read again, and passed over where it has a result
        delete from headrace.inbox_cursor;
        insert into headrace.inbox_cursor (done, shard) select '1:1:', n from generate_series(0, wanted - 1) n;
    end if;
    delete from headrace.shard;
    for number in 0 .. wanted - 1 loop
        insert into headrace.life (backend_pid, backend_start, dead, address, version, shard) values (0, now(), true, 'none: the shards were set', '', number) returning life_id into made;
        insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value)
        select made, 0, newest, coalesce(array_agg(m.type_id), '{}'), coalesce(array_agg(m.state), '{}'), coalesce(array_agg(m.minute), '{}'), coalesce(array_agg(m.n), '{}')
        from moved m join headrace.job_type t using (type_id) where m.n <> 0 and t.domain_id % wanted = number;
        insert into headrace.shard (shard) values (number);
        for side in 2 * number .. 2 * number + 1 loop
            if to_regclass(format('headrace.checkpoint_chunk_%s', side)) is null then
                execute format('create table headrace.checkpoint_chunk_%s partition of headrace.checkpoint_chunk (primary key (life_id, n, chunk)) for values in (%s)', side, side);
                execute format('alter table headrace.checkpoint_chunk_%s alter column job_ids set storage external, alter column what set storage external, alter column due set storage external', side);
            end if;
        end loop;
    end loop;
    drop table moved;
end $$;
revoke all on function headrace.set_shards(int) from public;
