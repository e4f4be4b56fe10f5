-- Everything up to this alert is in the groups now; in the transaction that stores them.
-- $1 cursor bigint. Locks: the row of alert_state.
update headrace.alert_state set cursor = greatest(cursor, $1)
