-- $1 key int. Gives the advisory lock of index builds back.
select pg_advisory_unlock($1::int, 0)
