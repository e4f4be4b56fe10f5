-- Removes the keys and edges of the jobs of a part of a range that are gone. May be repeated. A unique key that a flush is giving to another job is left to it.
-- $1 class int, $2 lowest id bigint, $3 id above the highest bigint, $4 jobs of the range that stay bigint[].
-- Indexes: primary key of the job leaf and of idempotency_key, unique_key (job_id), edge by either end. Locks: the rows that go.
with kept as materialized (
    select unnest($4::bigint[]) as job_id
), keys as (
    delete from headrace.idempotency_key k using headrace.job j, headrace.job_type t
    where (j.job_id & 7) = $1 and j.job_id >= $2 and j.job_id < $3 and j.idempotency_key is not null and not exists (select from kept s where s.job_id = j.job_id)
      and t.type_id = j.type_id and k.domain_id = t.domain_id and k.key = j.idempotency_key and k.job_id = j.job_id
), uniques as (
    delete from headrace.unique_key where (domain_id, key) in (
        select k.domain_id, k.key from headrace.unique_key k
        where (k.job_id & 7) = $1 and k.job_id >= $2 and k.job_id < $3 and not exists (select from kept s where s.job_id = k.job_id) for update skip locked
    )
), parents as (
    delete from headrace.edge x
    where (x.parent_id & 7) = $1 and x.parent_id >= $2 and x.parent_id < $3 and not exists (select from kept s where s.job_id = x.parent_id)
)
delete from headrace.edge x
where (x.child_id & 7) = $1 and x.child_id >= $2 and x.child_id < $3 and not exists (select from kept s where s.job_id = x.child_id)
