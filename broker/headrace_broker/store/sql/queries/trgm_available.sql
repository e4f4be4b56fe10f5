-- Whether the server has pg_trgm to install. No parameters.
select exists (select from pg_available_extensions where name = 'pg_trgm')
