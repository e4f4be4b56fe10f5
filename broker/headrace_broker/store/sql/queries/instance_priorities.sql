-- Instances that have a priority, of all domains. A small table. Locks: none.
-- Returns: domain_id int, instance_id text, priority int.
select domain_id, instance_id, priority from headrace.instance_priority where priority <> 0
