-- Rows of the audit about one target, newest first. Looks at no more than $9 rows, whatever matches.
-- $1 domain text or null (all), $2 actor text or null, $3 target text or null, $4 action text or null, $5 from timestamptz (included), $6 to timestamptz (excluded),
-- $7 and $8 below this (at timestamptz, audit_id bigint), $9 rows int. Index: audit_by_target, walked backwards. Locks: none.
-- Returns the columns of audit, before and after as text, and matches boolean: whether the other filters let the row pass.
select audit_id, at, domain, actor, token_id, on_behalf_of, action, target, before::text as before, after::text as after, reason, request_id,
       ($1::text is null or domain = $1) and ($2::text is null or actor = $2) and ($3::text is null or target = $3) and ($4::text is null or action = $4) as matches
from headrace.audit
where target = $3 and at >= $5 and at < $6 and (at, audit_id) < ($7, $8)
order by at desc, audit_id desc limit $9
