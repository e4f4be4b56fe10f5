-- A channel that is to be changed.
-- $1 domain text, $2 name text. Index: unique (domain, name). Locks: its row.
select c.channel_id, c.domain, c.name, c.kind, c.settings::text as settings, c.is_default, c.send_resolved, c.cap_per_hour,
    exists (select from headrace.alert_secret s where s.channel_id = c.channel_id) as has_secret
from headrace.alert_channel c where c.domain = $1 and c.name = $2 for no key update
