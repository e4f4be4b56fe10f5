-- Replaces what code declares for a type.
-- $1 type_id int, $2 declared text (JSON). Locks: the type's row. Returns as type_list.
update headrace.job_type t set declared = $2::text::jsonb, changed_at = greatest(clock_timestamp(), t.changed_at + interval '1 microsecond')
from headrace.domain d where d.domain_id = t.domain_id and t.type_id = $1
returning t.type_id, t.domain_id, d.name as domain, t.name, t.declared::text as declared, t.overrides::text as overrides, t.changed_at
