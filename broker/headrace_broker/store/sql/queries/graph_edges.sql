-- Edges that touch these jobs, at either end.
-- $1 job_id bigint[], $2 rows int. Indexes: edge by either end. Locks: none.
-- Returns: parent_id bigint, child_id bigint, kind smallint; at most $2.
select parent_id, child_id, kind from headrace.edge where parent_id = any ($1)
union
select parent_id, child_id, kind from headrace.edge where child_id = any ($1)
limit $2
