-- Rules of a domain (null: of all), by name. $1 domain text. Index: unique (domain, name). Locks: none.
select rule_id, domain, name, kind, type, threshold, window_s, minimum, for_s, channels, group_wait_s, group_interval_s, repeat_interval_s
from headrace.alert_rule where $1::text is null or domain = $1 order by domain, name
