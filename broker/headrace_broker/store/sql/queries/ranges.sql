-- All ranges of ids that have leaves, newest first. No parameters; a small table. Locks: none.
-- Returns: class smallint, lo bigint, hi bigint.
select class, lo, hi from headrace.fact_range order by lo desc, class
