-- Since when nothing was stored of which the newest checkpoint of a shard does not know, for each job type: no event since that checkpoint is earlier, see checkpoint_get.
-- Types of a shard that has none yet are left out. No parameters. Reads types and checkpoints (small tables), and the flush rows above each base and checkpoint. Locks: none.
-- Returns one row: types int[], floors timestamptz[].
select coalesce(array_agg(t.type_id), '{}') as types, coalesce(array_agg(c.floor), '{}') as floors
from headrace.job_type t join (
    select c.shard, least(c.floor, (
        select min(f.at) from headrace.life l left join headrace.count_base b using (life_id)
        cross join lateral (select at from headrace.flush where life_id = l.life_id and n > greatest(b.n, case when l.life_id = c.life_id then c.n end, 0)) f
        where l.shard = c.shard
    )) as floor
    from headrace.checkpoint c
) c on c.shard = t.domain_id % (select count(*) from headrace.shard)
