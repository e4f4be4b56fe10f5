-- Channels, rules or silences have changed; in the transaction that changes them. Locks: the row of alert_state.
update headrace.alert_state set version = version + 1
