-- Deletes old rows of a span, at most 5,000 in one call. $1 span int, $2 first minute that stays int. Index: primary key of stat. Locks: those rows.
delete from headrace.stat where (span, at, type_id, agent_id, life_id) in (
    select span, at, type_id, agent_id, life_id from headrace.stat where span = $1 and at < $2 order by span, at limit 5000
)
