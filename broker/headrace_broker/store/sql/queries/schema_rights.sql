-- Whose the schema is, and whether this user may change what is in it. No parameters. Returns owner name, member boolean; no row: there is no schema yet.
select pg_get_userbyid(nspowner) as owner, pg_has_role(current_user, nspowner, 'MEMBER') as member from pg_namespace where nspname = 'headrace'
