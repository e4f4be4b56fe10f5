-- Makes the leaves of one range of ids, if they are not there.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 name suffix text. Locks: see headrace.add_range, which it calls.
-- Returns whether they were made.
select headrace.open_range($1, $2, $3, $4)
