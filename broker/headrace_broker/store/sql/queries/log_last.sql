-- The newest log lines of a job before (lease_epoch, line_no), oldest first.
-- $1 job_id bigint, $2 its retention class int, $3 lease_epoch int or 0 for all, $4 lowest level int, $5 lease_epoch int, $6 line_no int, $7 rows int. Index: primary key of the log_line leaves,
-- read backwards. Locks: none.
select l.lease_epoch, l.line_no, l.at, l.level, l.text, g.run, g.attempt
from (
    select * from headrace.log_line l
    where l.job_id = $1 and (l.job_id & 7) = $2 and ($3 = 0 or l.lease_epoch = $3) and l.level >= $4 and (l.lease_epoch, l.line_no) < ($5, $6)
    order by l.lease_epoch desc, l.line_no desc limit $7
) l
left join headrace.event g on g.job_id = l.job_id and g.seq = l.lease_epoch and (g.job_id & 7) = $2
order by l.lease_epoch, l.line_no
