-- Agents that the owner before expected, of the domains of a shard. $1 rows int, $2 agent_id int[] (those that hold leases), $3 how many shards int, $4 which one int.
-- Index: primary key, that of the incarnations of agents. Locks: none.
-- Returns: incarnation_id, domain, name, host text, gone_s float8 (seconds since 1970), holds boolean.
select g.incarnation_id, g.domain, g.name, g.host, extract(epoch from g.gone_at)::float8 as gone_s, coalesce(a.agent_id = any ($2::int[]), false) as holds
from headrace.alert_agent g left join headrace.agent a using (incarnation_id)
where ($3 = 1 or coalesce((select d.domain_id from headrace.domain d where d.name = g.domain), 0) % $3 = $4) order by g.incarnation_id limit $1
