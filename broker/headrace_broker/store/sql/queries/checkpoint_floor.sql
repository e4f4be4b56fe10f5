-- Lowers the floor of the newest checkpoint: events with earlier times were stored since. In one transaction with count_base, after which the flush rows no longer tell.
-- $1 floor timestamptz.
update headrace.checkpoint set floor = $1 where floor > $1
