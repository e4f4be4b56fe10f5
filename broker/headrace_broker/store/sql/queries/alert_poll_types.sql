-- Whether there is anything to do in one of several shards: the alerts of the others do not count.
-- $1 shard int, $2 type_id int[]: its types. Indexes: primary key of alert_state, alert_by_type for each type: bounds of both columns in one, as in alert_list. Locks: none.
-- Returns as alert_poll.
select s.term, s.version,
    exists (
        select from unnest($2::int[]) t (type_id) cross join lateral (
            select from headrace.alert n where (n.type_id, n.alert_id) > (t.type_id, s.cursor) and (n.type_id, n.alert_id) < (t.type_id + 1, 0::bigint)
                and n.kind <> 'door_open'
            order by n.type_id, n.alert_id limit 1
        ) a
    ) as fresh
from headrace.alert_state s where s.shard = $1
