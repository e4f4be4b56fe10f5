-- The chunks of a checkpoint from one number on, a few at a time. To be planned for its parameters: see checkpoint_count.
-- $1 side smallint, $2 life_id int, $3 n bigint, $4 first chunk int, $5 limit int. Index: primary key of the side.
-- Returns: kind smallint, type_id int, priority int, job_ids bytea, what bytea, due bytea, terms text.
select kind, type_id, priority, job_ids, what, due, terms from headrace.checkpoint_chunk
where side = $1 and life_id = $2 and n = $3 and chunk >= $4 order by chunk limit $5
