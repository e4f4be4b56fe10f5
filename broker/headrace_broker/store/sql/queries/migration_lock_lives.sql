-- Keeps new lives from beginning until the end of the transaction. Locks: the table, in a mode that flushes do not wait for.
lock table headrace.life in share row exclusive mode
