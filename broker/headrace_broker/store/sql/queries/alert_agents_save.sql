-- Agents that came, went without a word or came back, and those that are expected no more; nothing when the duty was lost.
-- $1 text: JSON array of the columns, times in seconds since 1970; $2 incarnation_id text[]; $3 term bigint, $4 shard int. Index: primary key. Locks: the rows.
with held as (
    select from headrace.alert_state where term = $3 and shard = $4
), dropped as (
    delete from headrace.alert_agent a where a.incarnation_id = any ($2::text[]) and exists (select from held)
)
insert into headrace.alert_agent (incarnation_id, domain, name, host, gone_at)
select u.incarnation_id, u.domain, u.name, u.host, to_timestamp(u.gone_s)
from jsonb_to_recordset($1::text::jsonb) as u (incarnation_id text, domain text, name text, host text, gone_s float8)
where exists (select from held)
on conflict (incarnation_id) do update set gone_at = excluded.gone_at
