-- All pauses. A small table. Locks: none.
-- Returns: domain text, kind text, name text, actor text, reason text, at timestamptz.
select d.name as domain, p.kind, p.name, p.actor, p.reason, p.at from headrace.pause p join headrace.domain d using (domain_id) order by d.name, p.kind, p.name
