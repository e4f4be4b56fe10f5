-- Makes a grant.
-- $1 holder_kind smallint, $2 holder_id int or null, $3 holder text, $4 domains text, $5 types text, $6 actions text[], $7 reason text, $8 who text.
-- Locks: the new row. Returns as grant_changed.
insert into headrace.access_grant (holder_kind, holder_id, holder, domains, types, actions, reason, granted_by) values ($1, $2, $3, $4, $5, $6, $7, $8)
returning grant_id, holder_kind, holder_id, holder, domains, types, actions, reason, granted_at, granted_by, null::timestamptz as ended_at, null::text as ended_by
