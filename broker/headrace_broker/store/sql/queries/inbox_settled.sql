-- Deletes the completions of the inbox that were taken up by the shards of their jobs, before all of it is read anew: a submission that was taken up has its result beside it, and is passed
-- over, a completion has none, and would be counted again. Whose numbers of transactions they are does not matter: rows and cursors have them of the same server.
-- No parameters. Reads the whole inbox, the event of each completion by its key, and the newest cursor of each shard. Locks: the rows.
with newest as materialized (
    select s.shard, c.done, c.upto, c.last_xid, c.last_id
    from headrace.shard s cross join lateral (select * from headrace.inbox_cursor c where c.shard = s.shard order by c.cursor_no desc limit 1) c
)
delete from headrace.inbox i using (
    select n.inbox_id from headrace.inbox n
    join headrace.event e on e.job_id = n.job_id and (e.job_id & 7) = (n.job_id & 7) and e.seq = n.lease_epoch + 1
    join headrace.job_type t on t.type_id = e.type_id
    join newest c on c.shard = t.domain_id % (select count(*) from headrace.shard)
    where n.kind = 2 and (
        pg_visible_in_snapshot(n.xid, c.done)
        or (pg_visible_in_snapshot(n.xid, c.upto) and (n.xid, n.inbox_id) <= (c.last_xid::text::xid8, c.last_id)))
) taken
where i.inbox_id = taken.inbox_id
