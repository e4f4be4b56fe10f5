-- Sets the priority of an instance, and makes its domain if it is not there.
-- $1 domain text, $2 instance_id text, $3 priority int, $4 actor text, $5 reason text. Indexes: the unique ones of both tables. Locks: the new rows.
-- Returns one row: domain_id int, changed_at timestamptz, before int (null: it had none).
with new_domain as (
    insert into headrace.domain (name) select $1 where not exists (select from headrace.domain where name = $1) on conflict do nothing returning domain_id
), found as (
    select domain_id from new_domain union all select domain_id from headrace.domain where name = $1 limit 1
), former as (
    select p.priority from headrace.instance_priority p join found using (domain_id) where p.instance_id = $2
)
insert into headrace.instance_priority as p (domain_id, instance_id, priority, actor, reason)
select domain_id, $2, $3, $4, $5 from found
on conflict (domain_id, instance_id) do update set priority = excluded.priority, actor = excluded.actor, reason = excluded.reason, changed_at = clock_timestamp()
returning p.domain_id, p.changed_at, (select priority from former) as before
