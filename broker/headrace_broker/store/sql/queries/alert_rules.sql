-- Rules of a domain (null: of all those of a shard), by name. $1 domain text, $2 how many shards int, $3 which one int. Index: unique (domain, name). Locks: none.
select rule_id, domain, name, kind, type, threshold, window_s, minimum, for_s, channels, group_wait_s, group_interval_s, repeat_interval_s
from headrace.alert_rule r where ($1::text is null or domain = $1) and ($2 = 1 or coalesce((select d.domain_id from headrace.domain d where d.name = r.domain), 0) % $2 = $3)
order by domain, name
