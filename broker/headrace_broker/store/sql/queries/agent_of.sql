-- The agent of a domain that has this incarnation.
-- $1 domain text, $2 incarnation_id text. Index: unique (incarnation_id). Locks: none. Returns: agent_id int; no row: there is none.
select a.agent_id from headrace.agent a join headrace.domain d using (domain_id) where d.name = $1 and a.incarnation_id = $2
