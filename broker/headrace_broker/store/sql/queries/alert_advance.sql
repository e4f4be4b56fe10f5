-- Everything up to this alert is in the groups now; in the transaction that stores them.
-- $1 cursor bigint, $2 shard int. Locks: the row of the shard in alert_state.
update headrace.alert_state set cursor = greatest(cursor, $1) where shard = $2
