-- Adds rows to the audit, in this order. Runs in the transaction that makes the changes which they tell of.
-- $1 domain text[], $2 actor text[], $3 token_id int[], $4 on_behalf_of text[], $5 action text[], $6 target text[], $7 before text[] (JSON), $8 after text[] (JSON),
-- $9 reason text[], $10 request_id text[]. Locks: the new rows.
insert into headrace.audit (domain, actor, token_id, on_behalf_of, action, target, before, after, reason, request_id)
select u.domain, u.actor, u.token_id, u.on_behalf_of, u.action, u.target, u.before::jsonb, u.after::jsonb, u.reason, u.request_id
from unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
    with ordinality as u (domain, actor, token_id, on_behalf_of, action, target, before, after, reason, request_id, place)
order by u.place
