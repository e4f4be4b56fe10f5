-- Says anew how many lines of an attempt were not kept, in the line that stands for them. The texts differ in a number alone: the longer one, or the later one of equal
-- length, has the higher number, and is the newer one.
-- $1 job_id bigint, $2 its retention class int, $3 lease_epoch int, $4 line_no int, $5 text text. Index: primary key of the log_line leaves. Locks: that row.
update headrace.log_line set text = $5
where job_id = $1 and (job_id & 7) = $2 and lease_epoch = $3 and line_no = $4 and (length(text), text) < (length($5), $5)
