-- Makes a domain, if it is not there. $1 domain text. Index: the unique one of names. Locks: the new row; waits for an uncommitted twin.
insert into headrace.domain (name) select $1 where not exists (select from headrace.domain where name = $1) on conflict do nothing
