-- What is said about jobs after their submission lies in notes of kinds 7 (amendments) and 8 (payload), and moves no job: events of kind 16 mark when. Few jobs have any, so the
-- index that finds them is small; other notes do not enter it.
create function headrace.index_amended(leaf text) returns void language plpgsql as $$
begin
    execute format('create index %I on headrace.%I (job_id, kind, lease_epoch, at) where kind in (7, 8)', leaf || '_amended', leaf);
end $$;
select headrace.index_amended('note_' || name) from headrace.fact_range;

-- Makes the leaves of one range, as add_range says, with the indexes that came later. Safe to repeat.
create or replace function headrace.open_range(class int, lo bigint, hi bigint, suffix text) returns boolean language plpgsql as $$
begin
    if not headrace.add_range(class, lo, hi, suffix) then
        return false;
    end if;
    perform headrace.index_event_times(format('event_%s_%s', class, suffix));
    perform headrace.index_event_errors(format('event_%s_%s', class, suffix));
    perform headrace.index_amended(format('note_%s_%s', class, suffix));
    return true;
end $$;

create or replace view headrace.job_state as    -- as before, with the amended that hold, and when the job settled rather than when it was last changed
select j.job_id, d.name as domain, t.name as type, j.instance_id,
       case when e.state is null then 'waiting'
            when e.delete_minute * 60.0 <= extract(epoch from now()) then 'gone'
            else (array['waiting', 'processing', 'completed', 'error', 'aborted', 'gone'])[e.state] end as state,
       coalesce(e.seq, 0) as seq, coalesce(e.run, 1) as run, coalesce(e.attempt, 0) as attempt, coalesce(e.losses, 0) as losses,
       coalesce((n.amended ->> 'priority')::int, j.priority) as priority, headrace.created_at(j.job_id) as created_at, coalesce(e.available_at, j.available_at) as available_at,
       case when e.state > 2 then coalesce(s.at, e.at) end as settled_at, to_timestamp(e.delete_minute * 60.0) as delete_at, e.error,
       coalesce((n.amended ->> 'hold')::boolean, false) as hold
from headrace.job j
join headrace.job_type t using (type_id)
join headrace.domain d using (domain_id)
left join lateral (select * from headrace.event e where e.job_id = j.job_id and (e.job_id & 7) = (j.job_id & 7) order by e.seq desc limit 1) e on true
left join lateral (
    select s.at from headrace.event s where e.kind = 16 and s.job_id = j.job_id and (s.job_id & 7) = (j.job_id & 7) and s.kind <> 16 order by s.seq desc limit 1
) s on true
left join lateral (
    select convert_from(n.data, 'UTF8')::jsonb as amended from headrace.note n where n.job_id = j.job_id and (n.job_id & 7) = (j.job_id & 7) and n.kind = 7
    order by n.lease_epoch desc, n.at desc limit 1
) n on true;

-- As before; what was said of a job's deletion may have been taken back, so once anything was said the submission does not count.
create or replace function headrace.completed_delete_minute(wanted bigint, wanted_type int) returns int language sql volatile as $$
    select case when not coalesce((terms.said->>'hold')::boolean, false) then
        ceil((extract(epoch from clock_timestamp()) + coalesce(case when terms.said is null then (j.more->>'delete_after_s')::float8 else (terms.said->>'delete_after_s')::float8 end,
            (t.overrides->>'delete_completed_after_s')::float8, (t.declared->>'delete_completed_after_s')::float8, 604800)) / 60)::int end
    from headrace.job j join headrace.job_type t on t.type_id = wanted_type
    left join lateral (
        select convert_from(n.data, 'UTF8')::jsonb as said from headrace.note n where n.job_id = wanted and (n.job_id & 7) = (wanted & 7) and n.kind = 7
        order by n.lease_epoch desc, n.at desc limit 1
    ) terms on true
    where j.job_id = wanted and (j.job_id & 7) = (wanted & 7)
$$;
