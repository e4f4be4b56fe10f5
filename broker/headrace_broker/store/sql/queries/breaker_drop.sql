-- A breaker is closed: forgets its row, if the life still owns its shard.
-- $1 life_id int, $2 type_id int. Indexes: primary keys. Locks: the life's row FOR SHARE, the breaker's row. Returns one row, alive boolean.
with fence as materialized (
    select from headrace.life where life_id = $1 and not dead for share
), gone as (
    delete from headrace.breaker b using fence where b.type_id = $2
)
select exists (select from fence) as alive
