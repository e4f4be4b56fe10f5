-- Makes the queue one of so many shards. $1 int. Only while no broker lives and none can begin (migration_lock_lives, migration_old_lives). Locks: the rows of all shards.
select headrace.set_shards($1)
