-- How many shards there are. Locks: none. Returns: count bigint.
select count(*) from headrace.shard
