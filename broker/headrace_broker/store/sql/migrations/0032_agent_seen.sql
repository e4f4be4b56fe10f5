-- When an agent was there last: its broker says so while it is connected, and lives of agents that were there long ago, and that nothing names any more, are forgotten.

alter table headrace.agent add column last_seen timestamptz not null default now();  -- to the hour, and a day when it comes back
