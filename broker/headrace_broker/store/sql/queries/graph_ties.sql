-- Which of these jobs waits for which: dependencies, and members of batches.
-- $1 job_id bigint[], $2 rows int. Index: edge by parent. Locks: none.
-- Returns: parent_id bigint, child_id bigint, kind smallint, where both jobs are of these; at most $2.
select parent_id, child_id, kind from headrace.edge where parent_id = any ($1) and kind in (1, 3) and child_id = any ($1) limit $2
