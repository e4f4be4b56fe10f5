-- The settings of a type as they are, until the transaction ends.
-- $1 type_id int. Index: primary key. Locks: the type's row. Returns: declared text, overrides text (JSON).
select declared::text as declared, overrides::text as overrides from headrace.job_type where type_id = $1 for update
