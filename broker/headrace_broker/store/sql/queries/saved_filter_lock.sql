-- One change of a domain's saved filters at a time: so they are counted well, and of two who make the same one the second finds that of the first.
-- $1 domain text. Locks: an advisory lock to the end of the transaction.
select pg_advisory_xact_lock(hashtext('headrace.saved_filter'), hashtext($1))
