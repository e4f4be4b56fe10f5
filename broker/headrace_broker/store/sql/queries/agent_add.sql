-- One life of an agent process, made if it is new. Its domain exists: its types were made before. Nothing is written for one that was there within a day, so many may come
-- back at once.
-- $1 domain text, $2 name text, $3 incarnation_id text, $4 host text, $5 pid int, $6 build text, $7 sdk text, $8 labels text (JSON). Index: unique (incarnation_id).
-- Returns: agent_id int, first_seen timestamptz; no row: the incarnation is one of another domain.
with known as (
    select a.agent_id, a.first_seen from headrace.agent a join headrace.domain d using (domain_id)
    where d.name = $1 and a.incarnation_id = $3 and a.build = $6 and a.last_seen > now() - interval '1 day'
), made as (
    insert into headrace.agent (domain_id, name, incarnation_id, host, pid, build, sdk, labels)
    select domain_id, $2, $3, $4, $5, $6, $7, $8::text::jsonb from headrace.domain where name = $1 and not exists (select from known)
    on conflict (incarnation_id) do update set build = excluded.build, last_seen = now() where agent.domain_id = excluded.domain_id
    returning agent_id, first_seen
)
select agent_id, first_seen from known union all select agent_id, first_seen from made
