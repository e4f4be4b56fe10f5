-- Sessions of the manager were used; safe to repeat.
-- $1 hash bytea[], $2 idle_s float8[]. Index: primary key. Locks: the rows.
update headrace.web_session s set seen_at = greatest(s.seen_at, clock_timestamp() - make_interval(secs => u.idle_s)), changed_at = clock_timestamp()
from unnest($1::bytea[], $2::float8[]) as u (hash, idle_s)
where s.hash = u.hash and s.ended_at is null
