-- Counts of everything ever flushed in a shard: what the bases say and what later flushes added, with the highest id given out.
-- $1 shard int. Reads count_base of the lives of the shard and the flush rows above each base, by the primary key of flush for each life. Locks: none.
-- Returns: type_id int, state smallint, minute int, n bigint; one row more with type_id null and n = highest id.
with bases as materialized (
    select b.* from headrace.count_base b join headrace.life l using (life_id) where l.shard = $1
), tail as materialized (
    select f.* from headrace.life l left join bases b using (life_id)
    cross join lateral (select * from headrace.flush where life_id = l.life_id and n > coalesce(b.n, 0)) f
    where l.shard = $1
), parts as (
    select u.* from bases b, unnest(b.count_type, b.count_state, b.count_minute, b.count_value) as u (type_id, state, minute, n)
    union all
    select u.type_id, u.state, u.minute, u.delta from tail, unnest(tail.count_type, tail.count_state, tail.count_minute, tail.count_delta) as u (type_id, state, minute, delta)
)
select type_id, state, minute, sum(n)::bigint as n from parts group by 1, 2, 3 having sum(n) <> 0
union all
select null, null, null, greatest((select max(max_id) from tail), (select max(max_id) from bases))
