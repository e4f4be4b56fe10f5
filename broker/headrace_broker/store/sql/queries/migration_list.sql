-- The applied migrations. Returns: version int, checksum text, phase text, also from a table that has no such column yet.
select m.version, m.checksum, coalesce(to_jsonb(m) ->> 'phase', 'pre') as phase from headrace.migration m order by m.version
