-- Marks a life dead: its flushes store nothing from now on. Only by who holds its lock.
-- $1 life_id int. Index: primary key of life. Locks: the life's row; waits for a flush of it that is under way.
update headrace.life set dead = true where life_id = $1
