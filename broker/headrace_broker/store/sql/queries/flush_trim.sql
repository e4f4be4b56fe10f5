-- Empties the slots of flush rows that nobody needs; see headrace.trim_flushes, also for its locks. $1 flushes of a life that share a slot bigint. Returns how many slots.
select headrace.trim_flushes($1)
