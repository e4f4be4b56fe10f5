-- Makes a job type and its domain, if they are not there.
-- $1 domain text, $2 name text. Indexes: the unique ones of both tables. Locks: the new rows; waits for an uncommitted twin.
with new_domain as (
    insert into headrace.domain (name) select $1 where not exists (select from headrace.domain where name = $1) on conflict do nothing returning domain_id
)
insert into headrace.job_type (domain_id, name)
select domain_id, $2 from (select domain_id from new_domain union all select domain_id from headrace.domain where name = $1 limit 1) d
on conflict do nothing
