-- Empties the side that the newest checkpoint is not in, in the caller's transaction. Locks: that side's table, exclusively; set a short lock_timeout.
-- $1 the side smallint. Returns whether it was emptied; false: the newest checkpoint is there.
select headrace.clear_checkpoint_side($1)
