-- In the transaction of a flush that stores what was taken from the inbox: how far it is taken up, and what became of each submission.
-- $1 done text, $2 upto text or null, $3 last_xid bigint, $4 last_id bigint, $5 inbox_id bigint[], $6 job_id bigint[], $7 reason text[], $8 message text[], $9 shard int. Indexes: primary keys. Locks: none.
with results as (
    insert into headrace.inbox_result (inbox_id, job_id, reason, message)
    select * from unnest($5::bigint[], $6::bigint[], $7::text[], $8::text[])
)
insert into headrace.inbox_cursor (done, upto, last_xid, last_id, shard) values ($1::text::pg_snapshot, $2::text::pg_snapshot, $3, $4, $9)
