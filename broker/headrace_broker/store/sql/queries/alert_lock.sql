-- The fence of every transaction of the duty. Locks: the row of alert_state. Returns one row: term, version, cursor bigint.
select term, version, cursor from headrace.alert_state for update
