-- The side that holds the newest checkpoint of a shard; its other one is free. $1 shard int. Returns side smallint, or no row.
select side from headrace.checkpoint where shard = $1
