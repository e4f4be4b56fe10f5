-- The leaves of one range that are still attached, or half detached by a run that was interrupted.
-- $1 class int, $2 lowest id bigint. Reads the catalogue. Locks: none.
-- Returns a row for each of the four facts in the flush's order: branch text, leaf text, attached boolean, pending boolean.
select fact || '_' || r.class as branch, fact || '_' || r.name as leaf, i.inhrelid is not null as attached, coalesce(i.inhdetachpending, false) as pending
from headrace.fact_range r
cross join unnest(array['job', 'event', 'note', 'log_line']) with ordinality as f (fact, place)
left join pg_inherits i on i.inhrelid = to_regclass('headrace.' || fact || '_' || r.name)
where r.class = $1 and r.lo = $2
order by place
