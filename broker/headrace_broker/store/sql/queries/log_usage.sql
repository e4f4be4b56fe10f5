-- What is stored of the log lines of these attempts, and the types of their jobs.
-- $1 job_id bigint[], $2 their retention classes int[], $3 lease_epoch int[]. Indexes: primary keys of the job, event and log_line leaves. Locks: none.
-- Returns a row for each attempt whose job is stored: job_id bigint, lease_epoch int, type_id int, bytes bigint and last_no int (null: there are no lines),
-- mark_no int (null: no line stands for those that were not kept), agent_id int (whose lease it is; null: it was never granted).
select u.job_id, u.lease_epoch, j.type_id, g.agent_id, l.bytes, l.last_no, l.mark_no
from unnest($1::bigint[], $3::int[]) as u (job_id, lease_epoch)
join headrace.job j on j.job_id = u.job_id and (j.job_id & 7) = any ($2)
left join headrace.event g on g.job_id = u.job_id and (g.job_id & 7) = any ($2) and g.seq = u.lease_epoch and g.kind = 1
cross join lateral (
    select sum(octet_length(l.text)) as bytes, max(l.line_no) as last_no, max(l.line_no) filter (where l.level = 3 and l.text like '% more lines not kept: the limit is %') as mark_no
    from headrace.log_line l where l.job_id = u.job_id and (l.job_id & 7) = any ($2) and l.lease_epoch = u.lease_epoch
) l
