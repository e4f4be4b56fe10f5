-- Whether there is anything to do in one of several shards: the alerts of the others do not count.
-- $1 shard int, $2 type_id int[]: its types. Indexes: primary key of alert_state, alert_by_type for each type. Locks: none. Returns as alert_poll.
select s.term, s.version,
    exists (select from unnest($2::int[]) t (type_id) cross join lateral (select from headrace.alert a where a.type_id = t.type_id and a.alert_id > s.cursor limit 1) a) as fresh
from headrace.alert_state s where s.shard = $1
