-- Takes over the counts of all other lives: their bases go, and what they flushed is from now on in the base of this life. In one transaction with count_base.
-- $1 own life_id int. Indexes: primary key of count_base. Locks: the rows of the other lives' bases.
insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value)
select f.life_id, max(f.n), 0, '{}', '{}', '{}', '{}' from headrace.flush f where f.life_id <> $1 group by f.life_id
on conflict (life_id) do update set n = greatest(headrace.count_base.n, excluded.n), max_id = 0, count_type = '{}', count_state = '{}', count_minute = '{}', count_value = '{}', at = now()
