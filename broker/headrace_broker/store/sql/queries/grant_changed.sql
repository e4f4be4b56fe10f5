-- Grants that were made or ended after a time, or within the last minute (the clock may have been set back since).
-- $1 timestamptz. Indexes: access_grant_at, access_grant_end_at, primary keys. Locks: none.
-- Returns: grant_id int, holder_kind smallint, holder_id int, holder text, domains text, types text, actions text[], reason text, granted_at timestamptz,
-- granted_by text, ended_at timestamptz or null, ended_by text or null.
select grant_id, holder_kind, holder_id, holder, domains, types, actions, reason, granted_at, granted_by, ended_at, ended_by
from (select grant_id from headrace.access_grant where granted_at > least($1, now() - interval '1 minute') union select grant_id from headrace.access_grant_end where ended_at > least($1, now() - interval '1 minute')) changed
join headrace.access_grant using (grant_id) left join headrace.access_grant_end using (grant_id)
