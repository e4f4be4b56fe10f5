-- Agents that the owner before expected. $1 rows int. Index: primary key. Locks: none. Times in seconds since 1970.
select incarnation_id, domain, name, host, extract(epoch from gone_at)::float8 as gone_s from headrace.alert_agent order by incarnation_id limit $1
