-- These agents are there. $1 agent_id int[]. Index: primary key. Locks: the rows that were not written within the hour.
update headrace.agent set last_seen = now() where agent_id = any ($1::int[]) and last_seen < now() - interval '1 hour'
