-- Which live jobs hold these unique keys.
-- $1 domain_id int[], $2 key text[]. Indexes: primary keys of unique_key, and of the job and event leaves. Locks: none.
-- Returns a row for each key that a live job holds: domain_id int, key text, job_id bigint.
select k.domain_id, k.key, k.job_id
from unnest($1::int[], $2::text[]) as u (domain_id, key)
join headrace.unique_key k using (domain_id, key)
where headrace.is_live(k.job_id)
