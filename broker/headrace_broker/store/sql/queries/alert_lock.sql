-- The fence of every transaction of the duty. $1 shard int. Locks: the row of the shard in alert_state. Returns one row: term, version, cursor bigint.
select term, version, cursor from headrace.alert_state where shard = $1 for update
