-- Gives a life's lock back.
-- $1 key of all lives int, $2 life_id int.
select pg_advisory_unlock($1::int, $2::int)
