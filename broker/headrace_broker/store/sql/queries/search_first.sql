-- The lowest id that a job can have: where the oldest range of ids that has leaves begins. No parameters; a small table. Locks: none.
-- Returns one row: lo bigint or null.
select min(lo) as lo from headrace.fact_range
