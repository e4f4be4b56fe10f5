-- Rows of another server's transactions, as after a restore from a dump, become this transaction's. What was taken up has its result beside it, and is passed over.
-- No parameters. Reads the whole inbox. Locks: the rows.
update headrace.inbox set xid = default
