-- When each message since a time was sent: what counts against a channel's cap.
-- $1 since, in seconds since 1970 float8, $2 how many shards int, $3 which one int: its channels. Index: alert_notice_sent, for each channel. Locks: none. Returns channel_id int, sent_s float8; rising by time.
select c.channel_id, extract(epoch from max(n.sent_at))::float8 as sent_s
from headrace.alert_channel c join headrace.alert_notice n on n.channel_id = c.channel_id and n.sent_at > to_timestamp($1)
where ($2 = 1 or coalesce((select d.domain_id from headrace.domain d where d.name = c.domain), 0) % $2 = $3)
group by c.channel_id, n.batch_id order by 2
