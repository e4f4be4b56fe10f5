-- Makes a domain, if it is not there. $1 domain text. Index: the unique one of names. Locks: the new row; waits for an uncommitted twin.
insert into headrace.domain (name) values ($1) on conflict do nothing
