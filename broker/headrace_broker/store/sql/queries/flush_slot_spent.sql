-- Whether nobody needs the flush rows of a slot: the counts of each life are based above them, the life has stored others since or is dead, and it is some time ago. The newest row of
-- a life that lives thus stays, wherever it is: it tells what was stored before a connection was lost, and whether its broker hangs. Times that are not over yet come from a clock
-- that was set back. Looks at the newest row of each life alone: a slot holds hundreds of thousands.
-- $1 slot smallint, $2 seconds float8. Indexes: primary keys of life, count_base and the slot. Locks: none. Returns boolean; false for an empty slot.
select coalesce(bool_and(f.n <= coalesce(b.n, 0) and (l.dead or f.n < b.n) and f.at not between now() - make_interval(secs => $2::float8) and now()), false)
from headrace.life l left join headrace.count_base b using (life_id)
cross join lateral (select n, at from headrace.flush where slot = $1::smallint and life_id = l.life_id order by n desc limit 1) f
