-- Deletes results whose time is over, and the submissions that were refused with them.
-- $1 inbox_id after which to look bigint, $2 seconds that results are kept float8, $3 seconds that refusals are kept float8, $4 rows int. Index: primary key. Locks: the rows.
-- Returns one row: looked bigint, deleted bigint, inbox_id bigint of the last one looked at, young boolean (that one is too young whatever it is).
with looked as materialized (
    select r.inbox_id, r.reason, r.at from headrace.inbox_result r where r.inbox_id > $1 order by r.inbox_id limit $4::int
), due as materialized (
    select inbox_id from looked where at < now() - make_interval(secs => case when reason is null then $2::float8 else $3::float8 end)
), rows_gone as (
    delete from headrace.inbox i using due where i.inbox_id = due.inbox_id
), gone as (
    delete from headrace.inbox_result r using due where r.inbox_id = due.inbox_id returning r.inbox_id
)
select (select count(*) from looked) as looked, (select count(*) from gone) as deleted, (select max(inbox_id) from looked) as inbox_id,
    coalesce((select at >= now() - make_interval(secs => $2::float8) from looked order by inbox_id desc limit 1), false) as young
