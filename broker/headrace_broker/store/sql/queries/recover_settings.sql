-- For the transaction of a recovery read: it may take long, and reads whole ranges, for which the planner, without statistics of new partitions, would choose nested loops.
set local statement_timeout = 0; set local enable_nestloop = off; set local work_mem = '64MB'
