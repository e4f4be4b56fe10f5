-- Which of these users' sessions still stand: their numbers now, of those who may log in.
-- $1 user_id int[]. Index: primary key. Locks: none. Returns: user_id int, epoch int.
select user_id, epoch from headrace.account where user_id = any($1::int[]) and disabled_at is null
