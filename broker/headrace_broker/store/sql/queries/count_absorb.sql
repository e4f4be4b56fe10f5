-- Takes over the counts of all other lives of the same shard: their bases go, and what they flushed is from now on in the base of this life. In one transaction with count_base.
-- A life may have a base and no flush: it ended after it had read the ledger and before its first proof.
-- $1 own life_id int. Indexes: primary keys of flush (the newest row of each life, not all: flushes wait for this) and of count_base. Locks: the rows of the other lives' bases.
insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value)
select l.life_id, greatest(f.n, b.n), 0, '{}', '{}', '{}', '{}'
from headrace.life l
left join headrace.count_base b using (life_id)
left join lateral (select n from headrace.flush where life_id = l.life_id order by n desc limit 1) f on true
where l.life_id <> $1 and l.shard = (select shard from headrace.life where life_id = $1) and (f.n is not null or b.n is not null)
on conflict (life_id) do update set n = greatest(headrace.count_base.n, excluded.n), max_id = 0, count_type = '{}', count_state = '{}', count_minute = '{}', count_value = '{}', at = now()
