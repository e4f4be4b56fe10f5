-- Notices that could not be delivered for days.
-- $1 notice_id bigint[], $2 when, in seconds since 1970 float8. Index: primary key. Locks: the rows.
update headrace.alert_notice set given_up_at = to_timestamp($2) where notice_id = any ($1::bigint[]) and sent_at is null
