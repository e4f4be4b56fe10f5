-- Channels, rules or silences have changed; in the transaction that changes them. Locks: the rows of alert_state, by shard.
with every as (
    select shard from headrace.alert_state order by shard for update
)
update headrace.alert_state s set version = version + 1 from every where s.shard = every.shard
