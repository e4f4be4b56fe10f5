-- Forgets a range whose leaves are dropped. $1 class int, $2 lowest id bigint. Index: primary key of fact_range.
delete from headrace.fact_range where class = $1 and lo = $2
