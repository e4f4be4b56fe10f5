-- Where pg_trgm is installed. No parameters. Returns nspname name, or no row.
select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm'
