-- Whether a bulk operation is running, stopped or finished.
-- $1 operation_id bigint. Index: primary key. Locks: none.
select state from headrace.operation where operation_id = $1
