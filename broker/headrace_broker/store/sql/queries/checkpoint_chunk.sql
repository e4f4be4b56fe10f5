-- One chunk of a checkpoint that is being written.
-- $1 side smallint, $2 life_id int, $3 n bigint, $4 chunk int, $5 kind smallint, $6 type_id int, $7 priority int, $8 job_ids bytea, $9 what bytea, $10 due bytea, $11 terms text.
insert into headrace.checkpoint_chunk (side, life_id, n, chunk, kind, type_id, priority, job_ids, what, due, terms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
