-- A message was not delivered.
-- $1 notice_id bigint[], $2 why text, $3 next try, in seconds since 1970 float8. Index: primary key. Locks: the rows.
update headrace.alert_notice set error = $2, next_try_at = to_timestamp($3) where notice_id = any ($1::bigint[]) and sent_at is null
