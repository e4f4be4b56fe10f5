-- When each message since a time was sent: what counts against a channel's cap.
-- $1 since, in seconds since 1970 float8. Index: alert_notice_sent. Locks: none. Returns channel_id int, sent_s float8; rising by time.
select channel_id, extract(epoch from max(sent_at))::float8 as sent_s from headrace.alert_notice where sent_at > to_timestamp($1) group by channel_id, batch_id order by 2
