-- The newest period of a span that has been added up. $1 span int. Index: primary key of stat. Locks: none. Returns one row: at int or null.
select max(at) as at from headrace.stat where span = $1
