-- The oldest period of a span from some minute on. $1 span int, $2 first minute int. Index: primary key of stat. Locks: none. Returns one row: at int or null.
select min(at) as at from headrace.stat where span = $1 and at >= $2
