-- One job type by name.
-- $1 domain text, $2 name text. Index: unique (domain_id, name). Returns as type_list.
select t.type_id, t.domain_id, d.name as domain, t.name, t.declared::text as declared, t.overrides::text as overrides, t.changed_at
from headrace.job_type t join headrace.domain d using (domain_id) where d.name = $1 and t.name = $2
