-- The type numbers of the domains of the flush's arrays. No parameters. Returns one row: int8_array bigint, bytea_array bigint.
select 'headrace.int8_array'::regtype::oid::bigint as int8_array, 'headrace.bytea_array'::regtype::oid::bigint as bytea_array
