-- Installs pg_trgm for this database. Needs the right to create in it: the extension is a trusted one.
create extension if not exists pg_trgm with schema headrace
