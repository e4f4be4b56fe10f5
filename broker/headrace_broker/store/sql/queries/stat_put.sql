-- Stores what one life counted; a row that is there already is replaced, since each holds all that its minute saw so far.
-- $1 life_id int, $2 rows jsonb: array of {at, type_id, agent_id, numbers, wait, run, wait_s, run_s, slots, waiting}. Index: primary key of stat. Locks: those rows.
insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
select 1, r.at, r.type_id, r.agent_id, $1, r.numbers, r.wait, r.run, r.wait_s, r.run_s, r.slots, r.waiting
from jsonb_to_recordset($2::jsonb) as r (at int, type_id int, agent_id int, numbers jsonb, wait jsonb, run jsonb, wait_s float8, run_s float8, slots int, waiting bigint)
order by r.at, r.type_id, r.agent_id
on conflict (span, at, type_id, agent_id, life_id) do update set
    numbers = excluded.numbers, wait = excluded.wait, run = excluded.run, wait_s = excluded.wait_s, run_s = excluded.run_s, slots = excluded.slots, waiting = excluded.waiting
