-- Pauses a domain, a type or the agents of a name; who paused it first stays.
-- $1 domain text, $2 kind text, $3 name text, $4 actor text, $5 reason text. Index: primary key. Locks: the row; makes the domain if it is new.
-- Returns the row's domain_id, unless it was paused already.
with new_domain as (
    insert into headrace.domain (name) select $1 where not exists (select from headrace.domain where name = $1) on conflict do nothing returning domain_id
)
insert into headrace.pause (domain_id, kind, name, actor, reason)
select domain_id, $2, $3, $4, $5 from (select domain_id from new_domain union all select domain_id from headrace.domain where name = $1 limit 1) d
on conflict do nothing returning domain_id
