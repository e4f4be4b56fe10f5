-- All domains and their settings. A small table. Locks: none.
-- Returns: domain_id int, name text, settings text (JSON).
select domain_id, name, settings::text as settings from headrace.domain order by name
