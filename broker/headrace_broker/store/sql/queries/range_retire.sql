-- Removes the jobs of one range that are gone; see headrace.retire_range, also for its locks.
-- $1 class int, $2 lowest id bigint, $3 minute (since 1970) before which a delete date is due int, $4 lowest id whose key is kept bigint. Returns one row: kept bigint, gone bigint.
select kept, gone from headrace.retire_range($1, $2, $3, $4)
