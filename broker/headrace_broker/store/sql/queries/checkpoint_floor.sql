-- Lowers the floor of the newest checkpoint of a shard: events with earlier times were stored since. In one transaction with count_base, after which the flush rows no longer tell.
-- $1 floor timestamptz, $2 shard int.
update headrace.checkpoint set floor = $1 where floor > $1 and shard = $2
