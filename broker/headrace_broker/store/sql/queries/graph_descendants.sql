-- Jobs below these: those that they submitted, that depend on them, or that are callbacks of their batches, and the same of those in turn.
-- $1 job_id bigint[], $2 rows int. Index: edge by parent. Locks: none.
-- Returns: job_id bigint, each once, the jobs of $1 among them; at most $2.
with recursive below (job_id) as (
    select unnest($1::bigint[])
    union
    select e.child_id from below b join headrace.edge e on e.parent_id = b.job_id
)
select job_id from below limit $2
