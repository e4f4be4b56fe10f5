-- Alerts of these types, newest first.
-- $1 type_id int[], $2 below this id bigint, $3 rows int. Index: alert_by_type, walked backwards for each type: bounds of both columns in one keep the planner
-- from walking the alerts of all types for one that has few. Locks: none.
select a.alert_id, a.at, a.kind, a.job_id, a.type_id, j.instance_id, a.error::text as error
from (
    select n.* from unnest($1::int[]) t (type_id)
    cross join lateral (
        select * from headrace.alert n where (n.type_id, n.alert_id) >= (t.type_id, 0::bigint) and (n.type_id, n.alert_id) < (t.type_id, $2::bigint) order by n.type_id desc, n.alert_id desc limit $3
    ) n
    order by n.alert_id desc limit $3
) a left join headrace.job j on j.job_id = a.job_id and (j.job_id & 7) = (a.job_id & 7)
order by a.alert_id desc
