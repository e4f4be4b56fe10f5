-- A rule that is to be changed. $1 domain text, $2 name text. Index: unique (domain, name). Locks: its row. Returns as alert_rules.
select rule_id, domain, name, kind, type, threshold, window_s, minimum, for_s, channels, group_wait_s, group_interval_s, repeat_interval_s
from headrace.alert_rule where domain = $1 and name = $2 for no key update
