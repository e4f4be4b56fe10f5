-- Rows of another server's transactions, as after a restore from a dump, become this transaction's, for all shards: each begins anew, and its old cursor, whose numbers of transactions
-- will come again here, does not count any more. No parameters; inbox_lock and inbox_settled before it. Reads the whole inbox. Locks: the rows.
with adopted as (
    update headrace.inbox set xid = default
)
insert into headrace.inbox_cursor (done, shard) select '1:1:', shard from headrace.shard
