-- A message was delivered.
-- $1 notice_id bigint[], $2 when, in seconds since 1970 float8. Index: primary key. Locks: the rows.
update headrace.alert_notice set sent_at = to_timestamp($2), error = null where notice_id = any ($1::bigint[])
