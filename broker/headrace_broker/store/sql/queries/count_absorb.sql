-- Takes over the counts of all other lives: their bases go, and what they flushed is from now on in the base of this life. In one transaction with count_base.
-- A life may have a base and no flush: it ended after it had read the ledger and before its first proof.
-- $1 own life_id int. Indexes: primary key of count_base. Locks: the rows of the other lives' bases.
insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value)
select l.life_id, max(l.n), 0, '{}', '{}', '{}', '{}'
from (select f.life_id, f.n from headrace.flush f union all select b.life_id, b.n from headrace.count_base b) l
where l.life_id <> $1 group by l.life_id
on conflict (life_id) do update set n = greatest(headrace.count_base.n, excluded.n), max_id = 0, count_type = '{}', count_state = '{}', count_minute = '{}', count_value = '{}', at = now()
