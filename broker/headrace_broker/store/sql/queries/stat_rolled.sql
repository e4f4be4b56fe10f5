-- The newest period of a span that has been added up, up to a minute: later ones come from a clock that was set back since.
-- $1 span int, $2 last minute int. Index: primary key of stat. Locks: none. Returns one row: at int or null.
select max(at) as at from headrace.stat where span = $1 and at <= $2
