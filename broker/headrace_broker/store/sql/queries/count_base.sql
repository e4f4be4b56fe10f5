-- The counts of a life as of one of its flushes.
-- $1 life_id int, $2 n bigint, $3 highest id bigint, $4..$7 type_id int[], state smallint[], minute int[], value bigint[]. Index: primary key of count_base.
insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (life_id) do update set n = excluded.n, max_id = excluded.max_id, at = now(), count_type = excluded.count_type, count_state = excluded.count_state,
    count_minute = excluded.count_minute, count_value = excluded.count_value
