-- What one page of a bulk operation did, in the transaction of the flush that did it. A page that is stored already violates the primary key, and nothing of the flush is stored.
-- $1 operation_id bigint, $2 n int, $3 after_id bigint, $4 todo bigint[], $5 searched boolean, $6 matched, $7 done, $8 skipped, $9 failed (bigint, from the start on),
-- $10 job_id bigint[], $11 failed boolean[], $12 code text[], $13 reason text[]: jobs that were not changed.
-- Indexes: primary keys. Locks: the new rows; the operation's row when it is finished, else FOR KEY SHARE.
with page as (
    insert into headrace.operation_page (operation_id, n, after_id, todo, searched, matched, done, skipped, failed) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
), skips as (
    insert into headrace.operation_skip (operation_id, job_id, failed, code, reason)
    select $1::bigint, u.* from (select unnest($10::bigint[]), unnest($11::boolean[]), unnest($12::text[]), unnest($13::text[])) as u
)
update headrace.operation set state = 'finished', finished_at = now() where operation_id = $1 and $5 and cardinality($4::bigint[]) = 0
