-- Forgets bulk operations that were finished so long ago, with all that is known of them, in parts: what they skipped first, $2 rows at most; and of all operations the
-- pages that newer ones follow, $2 at most.
-- $1 seconds float8, $2 rows int. Indexes: operation_finished, primary keys. Locks: the rows. Returns one row: skips, pages, operations (bigint), how many went.
with old as (
    select operation_id from headrace.operation where finished_at < now() - make_interval(secs => $1) order by finished_at limit 100
), skips as (
    delete from headrace.operation_skip where (operation_id, job_id) in (select s.operation_id, s.job_id from headrace.operation_skip s join old using (operation_id) limit $2)
    returning operation_id
), pages as (
    delete from headrace.operation_page where (operation_id, n) in (
        select p.operation_id, p.n from headrace.operation_page p
        join (select operation_id, max(n) as newest from headrace.operation_page group by operation_id) as last using (operation_id) where p.n < last.newest limit $2
    ) returning n
), gone as (
    delete from headrace.operation o using old where o.operation_id = old.operation_id
        and not exists (select from headrace.operation_skip s where s.operation_id = o.operation_id)
    returning o.operation_id
)
select (select count(*) from skips) as skips, (select count(*) from pages) as pages, (select count(*) from gone) as operations
