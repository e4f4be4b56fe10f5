-- Jobs that a bulk operation did not change, by their ids.
-- $1 operation_id bigint, $2 above this job_id bigint, $3 rows int. Index: primary key of operation_skip. Locks: none.
select job_id, failed, code, reason from headrace.operation_skip where operation_id = $1 and job_id > $2 order by job_id limit $3
