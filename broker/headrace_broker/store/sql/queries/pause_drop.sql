-- Ends a pause.
-- $1 domain text, $2 kind text, $3 name text. Index: primary key. Locks: the row. Returns the row's domain_id if there was one.
delete from headrace.pause p using headrace.domain d where d.name = $1 and p.domain_id = d.domain_id and p.kind = $2 and p.name = $3
returning p.domain_id
