-- How many chunks of a checkpoint are there. To be planned for its parameters, as checkpoint_chunks: a plan for any side waits for whoever empties or fills one of them.
-- $1 side smallint, $2 life_id int, $3 n bigint. Index: primary key of the side. Locks: none. Returns bigint.
select count(*) from headrace.checkpoint_chunk where side = $1 and life_id = $2 and n = $3
