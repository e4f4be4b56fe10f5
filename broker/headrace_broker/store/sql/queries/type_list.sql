-- Job types of all domains, or those changed after a time, or within the last minute: the clock may have been set back since that time.
-- $1 timestamptz or null. A small table. Locks: none.
-- Returns: type_id int, domain_id int, domain text, name text, declared text, overrides text (JSON), changed_at timestamptz.
select t.type_id, t.domain_id, d.name as domain, t.name, t.declared::text as declared, t.overrides::text as overrides, t.changed_at
from headrace.job_type t join headrace.domain d using (domain_id)
where $1::timestamptz is null or t.changed_at > least($1, now() - interval '1 minute')
order by t.changed_at
