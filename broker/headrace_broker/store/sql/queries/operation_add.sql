-- Starts a bulk operation, and makes its domain if it is not there; no row: its key is taken.
-- $1 domain text, $2 action text, $3 options text (JSON), $4 filter text (JSON), $5 all_jobs boolean, $6 reason text, $7 actor text, $8 token_id int or null,
-- $9 on_behalf_of text, $10 request_id text, $11 start_key text, $12 frozen_id bigint, $13 expected bigint, $14 expected_complete boolean, $15 rate float8.
-- Indexes: unique (name) of domain, operation_by_key. Locks: the new rows. Returns operation_id.
with new_domain as (
    insert into headrace.domain (name) select $1 where not exists (select from headrace.domain where name = $1) on conflict do nothing returning domain_id
), found as (
    select domain_id from new_domain union all select domain_id from headrace.domain where name = $1 limit 1
)
insert into headrace.operation (domain_id, action, options, filter, all_jobs, reason, actor, token_id, on_behalf_of, request_id, start_key, frozen_id, expected,
    expected_complete, rate)
select domain_id, $2, $3::text::jsonb, $4::text::jsonb, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 from found
on conflict (domain_id, start_key) where start_key <> '' do nothing
returning operation_id
