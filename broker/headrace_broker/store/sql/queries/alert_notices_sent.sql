-- A message was delivered.
-- $1 notice_id bigint[], $2 when, in seconds since 1970 float8, $3 text: what there is to say all the same. Index: primary key. Locks: the rows.
update headrace.alert_notice set sent_at = to_timestamp($2), error = nullif($3, '') where notice_id = any ($1::bigint[]) and sent_at is null
