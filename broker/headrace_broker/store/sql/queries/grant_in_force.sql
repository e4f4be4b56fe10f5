-- Grants that have not ended: read once, by a broker that starts.
-- Reads both tables. Locks: none. Returns as grant_changed.
select grant_id, holder_kind, holder_id, holder, domains, types, actions, reason, granted_at, granted_by, null::timestamptz as ended_at, null::text as ended_by
from headrace.access_grant where not exists (select from headrace.access_grant_end e where e.grant_id = access_grant.grant_id)
