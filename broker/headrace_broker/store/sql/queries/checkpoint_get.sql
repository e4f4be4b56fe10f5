-- The newest checkpoint of a shard, with the earliest time that an event stored since can have: its own floor, or that of a flush that no base of the counts holds yet and
-- that is not in the checkpoint either.
-- $1 shard int. Reads these flush rows by the primary key of flush for each life. Locks: none.
-- Returns at most one row: life_id int, n bigint, side smallint, chunks int (how many it has to have), max_id bigint, floor timestamptz.
select c.life_id, c.n, c.side, c.chunks, c.max_id,
    least(c.floor, (
        select min(f.at) from headrace.life l left join headrace.count_base b using (life_id)
        cross join lateral (select at from headrace.flush where life_id = l.life_id and n > greatest(b.n, case when l.life_id = c.life_id then c.n end, 0)) f
        where l.shard = $1
    )) as floor
from headrace.checkpoint c
where c.shard = $1
