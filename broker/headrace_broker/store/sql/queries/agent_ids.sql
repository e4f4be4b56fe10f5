-- All lives of the agents of this name.
-- $1 domain text, $2 name text. Index: (domain_id, name) of agent. Locks: none.
-- Returns: agent_id int.
select a.agent_id from headrace.agent a join headrace.domain d using (domain_id) where d.name = $1 and a.name = $2
