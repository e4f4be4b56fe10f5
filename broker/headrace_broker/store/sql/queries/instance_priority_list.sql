-- A page of the instances of a domain that have a priority, by name.
-- $1 domain text, $2 the last name of the page before text, $3 rows int. Index: primary key. Locks: none.
-- Returns: domain_id int, domain text, instance_id text, priority int, changed_at timestamptz, actor text, reason text.
select p.domain_id, d.name as domain, p.instance_id, p.priority, p.changed_at, p.actor, p.reason
from headrace.instance_priority p join headrace.domain d using (domain_id)
where d.name = $1 and p.instance_id > $2 and p.priority <> 0
order by p.instance_id limit $3
