-- How much there is to be read to know which agents the events of old jobs name. $1 job_id bigint: of jobs with lower ids. Index: fact_range, a small table. Locks: none.
-- Returns one row: size bigint (bytes; results that lie apart are not read).
select coalesce(sum(pg_relation_size(to_regclass('headrace.event_' || name))), 0)::bigint as size from headrace.fact_range where lo < $1
