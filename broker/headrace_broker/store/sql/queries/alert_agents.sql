-- Agents that the owner before expected, of the domains of a shard.
-- $1 rows int, $2 how many shards int, $3 which one int. Index: primary key. Locks: none. Times in seconds since 1970.
select incarnation_id, domain, name, host, extract(epoch from gone_at)::float8 as gone_s from headrace.alert_agent a
where ($2 = 1 or coalesce((select d.domain_id from headrace.domain d where d.name = a.domain), 0) % $2 = $3) order by incarnation_id limit $1
