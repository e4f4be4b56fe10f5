-- Makes a checkpoint whose chunks are stored the newest one of its shard. On the life's own connection, which has ended before anybody else takes over.
-- $1 life_id int, $2 n bigint, $3 side smallint, $4 chunks int, $5 max_id bigint, $6 floor timestamptz, $7 shard int. Index: shard.
insert into headrace.checkpoint (life_id, n, side, chunks, max_id, floor, shard) values ($1, $2, $3, $4, $5, $6, $7)
on conflict (shard) do update set life_id = excluded.life_id, n = excluded.n, side = excluded.side, chunks = excluded.chunks, max_id = excluded.max_id,
    floor = excluded.floor, at = now()
