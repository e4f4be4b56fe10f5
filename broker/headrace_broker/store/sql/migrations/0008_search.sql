-- Search: which jobs failed in this way, and which lives an agent had.

create index agent_by_name on headrace.agent (domain_id, name);

-- Events with an error by their fingerprint. Only failures pay for it: what completes has no error, and the condition is looked at before anything is computed.
-- On existing leaves it is made under a lock that flushes wait for: upgrade while no broker serves, or make the indexes concurrently before.
create function headrace.index_event_errors(leaf text) returns void language plpgsql as $$
begin
    execute format('create index if not exists %I on headrace.%I ((error ->> ''fingerprint''), job_id) where error is not null', leaf || '_error', leaf);
end $$;
select headrace.index_event_errors('event_' || name) from headrace.fact_range;

-- As before, with this index on new leaves too.
create or replace function headrace.open_range(class int, lo bigint, hi bigint, suffix text) returns boolean language plpgsql as $$
begin
    if not headrace.add_range(class, lo, hi, suffix) then
        return false;
    end if;
    perform headrace.index_event_times(format('event_%s_%s', class, suffix));
    perform headrace.index_event_errors(format('event_%s_%s', class, suffix));
    return true;
end $$;
