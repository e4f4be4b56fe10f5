-- Whether there is anything to do, where there is one shard; of doors rules tell (see alert_signals).
-- $1 shard int. Indexes: primary keys of alert_state and alert. Locks: none.
-- Returns one row: term bigint, version bigint, fresh boolean (there are alerts that are not in the groups).
select s.term, s.version, coalesce((select max(a.alert_id) from headrace.alert a where a.kind <> 'door_open'), 0) > s.cursor as fresh from headrace.alert_state s where s.shard = $1
