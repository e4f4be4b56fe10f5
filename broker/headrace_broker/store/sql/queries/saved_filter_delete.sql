-- Deletes a saved filter. $1 domain text, $2 owner text, $3 name text. Index: primary key. Locks: the row.
delete from headrace.saved_filter where domain = $1 and owner = $2 and name = $3
