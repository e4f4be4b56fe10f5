-- For the transaction of the reads of a takeover: they may take long, and read whole ranges, for which the planner, without statistics of new partitions, would choose nested
-- loops. Between two of them the broker may have a minute of work to do. No parameters.
set local statement_timeout = 0; set local idle_in_transaction_session_timeout = '10min'; set local enable_nestloop = off; set local work_mem = '64MB'
