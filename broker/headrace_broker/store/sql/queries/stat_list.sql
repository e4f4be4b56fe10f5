-- Rows of all agents together of a period, as they are stored; the caller adds them up.
-- $1 span int, $2 from int (minute, included), $3 to int (excluded), $4 type_id int[].
-- Index: stat_totals. Locks: none. Returns at most 50,001 rows, oldest first: at, type_id, agent (name, '' for all), numbers, wait, run (JSON as text), wait_s, run_s, slots, waiting.
select s.at, s.type_id, '' as agent, s.numbers::text as numbers, s.wait::text as wait, s.run::text as run, s.wait_s, s.run_s, s.slots, s.waiting
from headrace.stat s
where s.span = $1 and s.at >= $2 and s.at < $3 and s.type_id = any ($4) and s.agent_id = 0
order by s.at
limit 50001
