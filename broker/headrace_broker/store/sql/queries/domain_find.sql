-- The number of a domain; no row: there is none of that name. $1 domain text. Index: its unique one. Locks: none.
-- Returns: domain_id int.
select domain_id from headrace.domain where name = $1
