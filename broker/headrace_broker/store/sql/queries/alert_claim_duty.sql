-- Takes the duty up: every older term stores nothing from now on. Of the shard of a life that owns it.
-- $1 life_id int. Indexes: primary keys. Locks: the row of the shard in alert_state. Returns term bigint; no row: the life has ended.
update headrace.alert_state set term = term + 1 where shard = (select shard from headrace.life where life_id = $1 and not dead) returning term
