-- Notices that are not delivered and not given up, the oldest of each channel, so that one that cannot be reached keeps no other waiting.
-- $1 rows of each channel int, $2 how many shards int, $3 which one int: its channels. Index: alert_notice_waiting. Locks: none. Times in seconds since 1970; facts text (JSON).
select n.notice_id, c.channel_id, n.facts::text as facts, extract(epoch from n.made_at)::float8 as made_s, n.batch_id, n.tries, extract(epoch from n.next_try_at)::float8 as next_try_s
from headrace.alert_channel c cross join lateral (
    select * from headrace.alert_notice w where w.channel_id = c.channel_id and w.sent_at is null and w.given_up_at is null order by w.notice_id limit $1
) n
where ($2 = 1 or coalesce((select d.domain_id from headrace.domain d where d.name = c.domain), 0) % $2 = $3)
order by n.notice_id
