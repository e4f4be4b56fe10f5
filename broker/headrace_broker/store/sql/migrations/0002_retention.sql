-- Giving space back: ranges whose jobs are gone, and flush rows that the counts no longer need.

-- Removes the jobs of one range that are gone: purged, or settled with a delete date before `due_minute` (since 1970). Jobs with an idempotency key stay while their id
-- is at least `keyed_from`, so that the key is kept for its time. What stays is put aside, the leaves are truncated, and it is put back, all in the caller's
-- transaction, under locks that flushes wait for: set a short lock_timeout, and call it only where little stays.
-- Locks are taken in the flush's order (job, event, note, log_line), since the other order would deadlock with it.
create function headrace.retire_range(class int, lo bigint, due_minute int, keyed_from bigint, out kept bigint, out gone bigint) language plpgsql as $$
declare
    range_name text;
    fact text;
begin
    select r.name into range_name from headrace.fact_range r where r.class = retire_range.class and r.lo = retire_range.lo;
    if not found then
        kept := 0;
        gone := 0;
        return;
    end if;
    foreach fact in array array['job', 'event', 'note', 'log_line'] loop
        execute format('lock table headrace.%I in access exclusive mode', fact || '_' || range_name);
    end loop;
    execute format('create temp table survivor on commit drop as
        select j.job_id from headrace.%I j
        left join (select distinct on (e.job_id) e.job_id, e.state, e.delete_minute from headrace.%I e order by e.job_id, e.seq desc) e using (job_id)
        where e.state is null or e.state <= 2 or (e.state <= 5 and (e.delete_minute is null or e.delete_minute >= $1)) or (j.idempotency_key is not null and j.job_id >= $2)',
        'job_' || range_name, 'event_' || range_name) using due_minute, keyed_from;
    get diagnostics kept = row_count;
    execute format('select count(*) - $1 from headrace.%I', 'job_' || range_name) into gone using kept;
    if gone = 0 then
        return;
    end if;
    create unique index on survivor (job_id);
    analyze survivor;
    execute format('delete from headrace.idempotency_key k using headrace.%I j, headrace.job_type t
        where j.idempotency_key is not null and t.type_id = j.type_id and k.domain_id = t.domain_id and k.key = j.idempotency_key and k.job_id = j.job_id
          and not exists (select from survivor s where s.job_id = j.job_id)', 'job_' || range_name);
    foreach fact in array array['job', 'event', 'note', 'log_line'] loop
        if kept > 0 then
            execute format('create temp table kept_%s on commit drop as select f.* from headrace.%I f where exists (select from survivor s where s.job_id = f.job_id)', fact, fact || '_' || range_name);
        end if;
        execute format('truncate headrace.%I', fact || '_' || range_name);
        if kept > 0 then
            execute format('insert into headrace.%I select * from kept_%s', fact || '_' || range_name, fact);
        end if;
    end loop;
end $$;

-- Whether nobody needs the flush rows of a slot: the counts of each life are based above them, and a living life has gone on by a whole slot since. Looks at the newest
-- row of each life alone: a slot holds hundreds of thousands.
create function headrace.flush_slot_spent(slot int, per_slot bigint) returns boolean language sql stable as $$
    select coalesce(bool_and(f.n <= coalesce(b.n, 0) and (l.dead or f.n <= b.n - per_slot)), false)
    from headrace.life l left join headrace.count_base b using (life_id)
    cross join lateral (select n from headrace.flush where slot = flush_slot_spent.slot and life_id = l.life_id order by n desc limit 1) f
$$;

-- Empties the slots that are spent; returns how many. Each is looked at again under its lock, since another broker may have begun to write there. Locks: set a short lock_timeout.
create function headrace.trim_flushes(per_slot bigint) returns int language plpgsql as $$
declare
    emptied int := 0;
begin
    for slot in 0..3 loop
        if headrace.flush_slot_spent(slot, per_slot) then
            execute format('lock table headrace.%I in access exclusive mode', 'flush_' || slot);
            if headrace.flush_slot_spent(slot, per_slot) then
                execute format('truncate headrace.%I', 'flush_' || slot);
                emptied := emptied + 1;
            end if;
        end if;
    end loop;
    return emptied;
end $$;
