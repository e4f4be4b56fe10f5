-- Alerts of these types, newest first.
-- $1 type_id int[], $2 below this id bigint, $3 rows int. Index: primary key of alert, walked backwards. Locks: none.
select a.alert_id, a.at, a.kind, a.job_id, a.type_id, j.instance_id, a.error::text as error
from headrace.alert a left join headrace.job j on j.job_id = a.job_id and (j.job_id & 7) = (a.job_id & 7)
where a.type_id = any ($1) and a.alert_id < $2 order by a.alert_id desc limit $3
