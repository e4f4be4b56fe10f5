-- Takes the duty up: every older term stores nothing from now on. Only for a life that owns its shards.
-- $1 life_id int. Indexes: primary keys. Locks: the row of alert_state. Returns term bigint; no row: the life has ended.
update headrace.alert_state set term = term + 1 where exists (select from headrace.life where life_id = $1 and not dead) returning term
