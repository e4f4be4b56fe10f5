-- The secrets of channels, for whoever sends. $1 channel_id int[], null: all. Index: primary key. Locks: none. Returns channel_id int, secret text.
select channel_id, secret from headrace.alert_secret where $1::int[] is null or channel_id = any ($1)
