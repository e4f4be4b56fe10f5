-- Grants, newest first.
-- $1 with ended ones boolean, $2 below grant_id int, $3 rows int. Index: primary key. Locks: none. Returns as grant_changed.
select grant_id, holder_kind, holder_id, holder, domains, types, actions, reason, granted_at, granted_by, ended_at, ended_by
from headrace.access_grant left join headrace.access_grant_end using (grant_id)
where grant_id < $2 and ($1 or ended_at is null) order by grant_id desc limit $3
