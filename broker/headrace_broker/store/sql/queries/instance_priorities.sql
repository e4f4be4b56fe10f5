-- Instances that have a priority, of all domains of a shard. A small table. $1 how many shards int, $2 number of the shard int. Locks: none.
-- Returns: domain_id int, instance_id text, priority int.
select domain_id, instance_id, priority from headrace.instance_priority where priority <> 0 and domain_id % $1 = $2
