-- For the transaction that adopts the inbox of another server: one owner at a time does, and nobody takes anything up meanwhile. No parameters. Locks: the table of the cursors.
lock table headrace.inbox_cursor in share row exclusive mode
