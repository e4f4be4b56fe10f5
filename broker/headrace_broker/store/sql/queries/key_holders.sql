-- Which jobs hold these idempotency keys.
-- $1 domain_id int[], $2 key text[]. Index: primary key of idempotency_key. Locks: none.
-- Returns a row for each key that is held: domain_id int, key text, job_id bigint, body_hash bytea.
select k.domain_id, k.key, k.job_id, k.body_hash
from unnest($1::int[], $2::text[]) as u (domain_id, key)
join headrace.idempotency_key k using (domain_id, key)
