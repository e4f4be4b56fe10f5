-- Deletes a channel, its secret, and what waits to be sent there. $1 channel_id int. Index: primary key. Locks: the rows.
delete from headrace.alert_channel where channel_id = $1
