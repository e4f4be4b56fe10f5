-- One saved filter that is to be changed.
-- $1 domain text, $2 owner text, $3 name text. Index: primary key. Locks: its row.
select domain, owner, name, filter::text as filter, version, saved_by, saved_at
from headrace.saved_filter where domain = $1 and owner = $2 and name = $3 for no key update
