-- For a transaction that adds periods up: one does at a time, and sees what is stored by then. $1 key int. Locks: an advisory lock, until the transaction ends.
select pg_advisory_xact_lock($1::int, 0)
