-- The abort of a schedule's previous job was asked for.
-- $1 schedule_id int, $2 job_id bigint. Index: primary key. Locks: the row.
update headrace.schedule set aborting_id = null, version = version + 1, changed_at = clock_timestamp() where schedule_id = $1 and aborting_id = $2
