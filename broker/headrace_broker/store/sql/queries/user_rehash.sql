-- Keeps the same password under other costs, unless it was changed meanwhile. Nobody's session ends.
-- $1 user_id int, $2 as it was text, $3 as it is text. Index: primary key. Locks: its row. Returns: nothing.
update headrace.account set password = $3 where user_id = $1 and password = $2
