-- A grant.
-- $1 grant_id int. Index: primary key. Locks: none. Returns as grant_changed.
select grant_id, holder_kind, holder_id, holder, domains, types, actions, reason, granted_at, granted_by, ended_at, ended_by
from headrace.access_grant left join headrace.access_grant_end using (grant_id) where grant_id = $1
