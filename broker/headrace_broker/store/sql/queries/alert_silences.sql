-- Silences of a domain (null: of all those of a shard) that end after a time, the last to end first.
-- $1 domain text, $2 in seconds since 1970 float8, $3 rows int (null: all), $4 how many shards int, $5 which one int. Index: alert_silence_by_end. Locks: none. Times in seconds since 1970.
select silence_id, domain, type, source, rule, fingerprint, extract(epoch from starts_at)::float8 as starts_s, extract(epoch from ends_at)::float8 as ends_s, author, reason, ended_by
from headrace.alert_silence s
where ($1::text is null or domain = $1) and ($4 = 1 or coalesce((select d.domain_id from headrace.domain d where d.name = s.domain), 0) % $4 = $5) and ends_at > to_timestamp($2) order by ends_at desc, silence_id desc limit $3
