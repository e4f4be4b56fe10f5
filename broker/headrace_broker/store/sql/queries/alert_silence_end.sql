-- Ends a silence that has not ended.
-- $1 domain text, $2 silence_id int, $3 now, in seconds since 1970 float8, $4 who text. Index: primary key. Locks: its row.
-- Returns as alert_silences, and until when it was to last: until_s float8; no row: there is none.
with old as (
    select ends_at from headrace.alert_silence where domain = $1 and silence_id = $2 for update
)
update headrace.alert_silence set ends_at = greatest(starts_at, to_timestamp($3)), ended_by = $4
where domain = $1 and silence_id = $2 and ends_at > to_timestamp($3)
returning silence_id, domain, type, source, rule, fingerprint, extract(epoch from starts_at)::float8 as starts_s, extract(epoch from ends_at)::float8 as ends_s, author, reason,
    ended_by, (select extract(epoch from old.ends_at)::float8 from old) as until_s
