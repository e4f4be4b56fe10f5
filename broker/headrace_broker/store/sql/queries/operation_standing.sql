-- Where a bulk operation goes on: its newest page; no row: it has none.
-- $1 operation_id bigint. Index: primary key of operation_page, walked backwards. Locks: none.
select n, after_id, todo, searched, matched, done, skipped, failed from headrace.operation_page where operation_id = $1 order by n desc limit 1
