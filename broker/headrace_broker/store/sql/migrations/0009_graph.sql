-- Jobs that others wait for are kept for as long as those live.

-- Jobs of one range that a live job depends on, or waits for as the callback of their batch. Index: primary key of edge, and those of the job and event leaves.
create function headrace.waited_for(class int, lo bigint, hi bigint) returns table (job_id bigint) language sql stable as $$
    select distinct x.parent_id from headrace.edge x
    where x.parent_id >= waited_for.lo and x.parent_id < waited_for.hi and (x.parent_id & 7) = waited_for.class and x.kind in (1, 3) and headrace.is_live(x.child_id)
$$;

-- Removes the jobs of one range that are gone: purged, or settled with a delete date before `due_minute` (since 1970). Jobs with an idempotency key stay while their id
-- is at least `keyed_from`, so that the key is kept for its time; so do jobs that a live job waits for or waited for. What stays is put aside, the leaves are truncated, and
-- it is put back, all in the caller's transaction, under locks that flushes wait for: set a short lock_timeout, and call it only where little stays.
-- Locks are taken in the flush's order (job, event, note, log_line), since the other order would deadlock with it.
create or replace function headrace.retire_range(class int, lo bigint, due_minute int, keyed_from bigint, out kept bigint, out gone bigint) language plpgsql as $$
declare
    range_name text;
    range_end bigint;
    fact text;
begin
    select r.name, r.hi into range_name, range_end from headrace.fact_range r where r.class = retire_range.class and r.lo = retire_range.lo;
    if not found then
        kept := 0;
        gone := 0;
        return;
    end if;
    create temp table watched on commit drop as select w.job_id from headrace.waited_for(retire_range.class, retire_range.lo, range_end) w;  -- before the locks
    foreach fact in array array['job', 'event', 'note', 'log_line'] loop
        execute format('lock table headrace.%I in access exclusive mode', fact || '_' || range_name);
    end loop;
    execute format('create temp table survivor on commit drop as
        select j.job_id from headrace.%I j
        left join (select distinct on (e.job_id) e.job_id, e.state, e.delete_minute from headrace.%I e order by e.job_id, e.seq desc) e using (job_id)
        where e.state is null or e.state <= 2 or (e.state <= 5 and (e.delete_minute is null or e.delete_minute >= $1)) or (j.idempotency_key is not null and j.job_id >= $2) or j.job_id in (select w.job_id from watched w)',
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
