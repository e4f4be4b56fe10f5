-- Makes a silence. $1 domain text, $2 type, $3 source, $4 rule, $5 fingerprint, $6 starts, $7 ends (seconds since 1970 float8), $8 author, $9 reason. Returns as alert_silences.
insert into headrace.alert_silence (domain, type, source, rule, fingerprint, starts_at, ends_at, author, reason)
values ($1, $2, $3, $4, $5, to_timestamp($6), to_timestamp($7), $8, $9)
returning silence_id, domain, type, source, rule, fingerprint, extract(epoch from starts_at)::float8 as starts_s, extract(epoch from ends_at)::float8 as ends_s, author, reason,
    ended_by
