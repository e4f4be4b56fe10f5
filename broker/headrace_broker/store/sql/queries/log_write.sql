-- Stores log lines; those that are stored already are passed over. Lines of jobs that were never stored, or that are gone with their partition, fail the statement.
-- $1 job_id bigint[], $2 lease_epoch int[], $3 line_no int[], $4 at timestamptz[], $5 level smallint[], $6 text text[]. Index: primary key of the leaves.
insert into headrace.log_line (job_id, lease_epoch, line_no, at, level, text)
select * from unnest($1::bigint[], $2::int[], $3::int[], $4::timestamptz[], $5::smallint[], $6::text[])
on conflict do nothing
