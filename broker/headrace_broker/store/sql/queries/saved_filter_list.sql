-- Saved filters that somebody has in a domain, and those that all there have: their own first, by name.
-- $1 domain text, $2 owner text, $3 name text (null: all of them). Index: primary key. Locks: none.
select domain, owner, name, filter::text as filter, version, saved_by, saved_at
from headrace.saved_filter where domain = $1 and owner in ('', $2) and ($3::text is null or name = $3)
order by owner = '', name
