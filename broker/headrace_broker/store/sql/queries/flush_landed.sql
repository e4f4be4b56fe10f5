-- Whether a flush was stored.
-- $1 life_id int, $2 n bigint. Index: primary key of the flush slots. Locks: none.
select exists (select from headrace.flush where life_id = $1 and n = $2)
