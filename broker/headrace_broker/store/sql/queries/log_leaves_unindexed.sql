-- Leaves of log lines of ranges that end at or below an id, and whose trigram index is missing or was not built to its end; the newest first.
-- $1 id bigint. Reads the catalogue. Locks: none.
-- Returns: leaf text.
select 'log_line_' || r.name as leaf
from headrace.fact_range r
left join pg_index i on i.indexrelid = to_regclass('headrace.log_line_' || r.name || '_trgm')
where r.hi <= $1 and to_regclass('headrace.log_line_' || r.name) is not null and not coalesce(i.indisvalid, false)
order by r.lo desc
