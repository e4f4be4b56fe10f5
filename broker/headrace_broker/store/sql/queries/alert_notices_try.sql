-- A message is about to be sent: stored before, so that a broker that dies does not try again at once, and one that lost the duty does not send at all.
-- $1 notice_id bigint[], $2 batch_id bigint, $3 next try, in seconds since 1970 float8, $4 term bigint, $5 shard int. Index: primary key. Locks: the rows. Returns the rows that may be sent.
update headrace.alert_notice n set batch_id = $2, tries = tries + 1, next_try_at = to_timestamp($3)
where notice_id = any ($1::bigint[]) and sent_at is null and given_up_at is null and exists (select from headrace.alert_state s where s.term = $4 and s.shard = $5)
returning notice_id
