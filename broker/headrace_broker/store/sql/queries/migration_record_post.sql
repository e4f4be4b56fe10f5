-- Records a migration of the second phase, in the transaction that applied it.
-- $1 version int, $2 name text, $3 checksum text, $4 headrace version text.
insert into headrace.migration (version, name, checksum, headrace_version, phase) values ($1, $2, $3, $4, 'post')
