-- Sets the secret of a channel. $1 channel_id int, $2 secret text. Index: primary key. Locks: the row.
insert into headrace.alert_secret (channel_id, secret) values ($1, $2) on conflict (channel_id) do update set secret = excluded.secret
