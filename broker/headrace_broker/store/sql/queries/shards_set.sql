-- Makes the queue one of so many shards; while no broker runs, in the transaction of life_hold. $1 how many int. Reads the flush rows that no base of the counts holds.
-- Locks: the tables of shards and checkpoints.
select headrace.set_shards($1::int)
