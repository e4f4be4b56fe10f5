-- Statistics of all agents together, without reading through those of each.

create index stat_totals on headrace.stat (span, at, type_id) where agent_id = 0;
