-- Those of these jobs that have a log line like this pattern.
-- $1 job_id bigint[], $2 the retention classes of these ids int[], $3 pattern text. Index: primary key of the log_line leaves. Locks: none.
-- Returns: job_id bigint; in no order.
select u.job_id from unnest($1::bigint[]) as u (job_id)
where exists (select from headrace.log_line l where l.job_id = u.job_id and (l.job_id & 7) = (u.job_id & 7) and (l.job_id & 7) = any ($2) and l.text ilike $3)
