-- Channels of a domain (null: of all those of a shard), by name, with how their deliveries stand. Indexes: unique (domain, name), alert_notice_waiting, alert_notice_sent. Locks: none.
-- $1 domain text, $2 how many shards int, $3 which one int. settings text (JSON); the secret itself is not read here.
select c.channel_id, c.domain, c.name, c.kind, c.settings::text as settings, c.is_default, c.send_resolved, c.cap_per_hour,
    exists (select from headrace.alert_secret s where s.channel_id = c.channel_id) as has_secret, c.created_at,
    (select count(*) from headrace.alert_notice n where n.sent_at is null and n.given_up_at is null and n.channel_id = c.channel_id) as waiting,
    (select n.error from headrace.alert_notice n where n.sent_at is null and n.given_up_at is null and n.channel_id = c.channel_id and n.error is not null
     order by n.notice_id limit 1) as error,
    (select max(n.sent_at) from headrace.alert_notice n where n.channel_id = c.channel_id and n.sent_at is not null) as sent_at
from headrace.alert_channel c where ($1::text is null or c.domain = $1) and ($2 = 1 or coalesce((select d.domain_id from headrace.domain d where d.name = c.domain), 0) % $2 = $3)
order by c.domain, c.name
