-- Jobs of all domains with a log line like this pattern, in a window of ids; the caller looks whose they are.
-- $1 lowest id bigint, $2 id above the highest bigint, $3 pattern text, $4 1: oldest first, -1: newest first int, $5 rows int.
-- Index: trigrams of the text where a sealed leaf has them; else the window's lines are read, by the primary key or all of the leaf. Locks: none.
-- Returns: job_id bigint.
select l.job_id from headrace.log_line l
where l.job_id >= $1 and l.job_id < $2 and l.text ilike $3
group by l.job_id order by l.job_id * $4::int limit $5
