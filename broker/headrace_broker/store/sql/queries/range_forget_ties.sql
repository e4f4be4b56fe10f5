-- Removes the unique keys and edges of jobs of one range that are gone; see headrace.forget_ties.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint. Returns how many rows.
select headrace.forget_ties($1, $2, $3)
