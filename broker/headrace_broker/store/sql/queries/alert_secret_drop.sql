-- Removes the secret of a channel. $1 channel_id int. Index: primary key. Locks: the row.
delete from headrace.alert_secret where channel_id = $1
