-- Until the end of the transaction no life begins and none is marked dead. No parameters. Locks: the table of lives, against writers.
lock table headrace.life in share row exclusive mode
