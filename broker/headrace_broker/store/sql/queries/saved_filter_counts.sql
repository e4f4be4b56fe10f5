-- How many saved filters there are of one owner, and in the whole domain.
-- $1 domain text, $2 owner text. Index: primary key. Locks: none.
select count(*) filter (where owner = $2) as of_owner, count(*) as of_domain from headrace.saved_filter where domain = $1
