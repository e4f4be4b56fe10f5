-- As alert_signals, in one of several shards: the connection of one owner's flushes alone writes the failures of its types, so their ids rise in the order of its commits.
-- $1 cursor bigint, $2 rows int, $3 type_id int[]: the types of the shard. Index: alert_by_type, forwards from the cursor for each type. Locks: none.
-- Returns kind text, type_id int, fingerprint text, failures bigint, newest bigint (alert_id), first_job_id, last_job_id bigint, summary text (of the newest).
select kind, type_id, fingerprint, count(*) as failures, max(alert_id) as newest, (array_agg(job_id order by alert_id))[1] as first_job_id,
    (array_agg(job_id order by alert_id desc))[1] as last_job_id, (array_agg(summary order by alert_id desc))[1] as summary
from (
    select alert_id, kind, type_id, job_id, coalesce(nullif(error ->> 'fingerprint', ''), nullif(error ->> 'code', ''), '') as fingerprint,
        left(concat_ws(': ', nullif(error ->> 'code', ''), nullif(error ->> 'message', '')), 500) as summary
    from unnest($3::int[]) t (id) cross join lateral (
        select * from headrace.alert n where (n.type_id, n.alert_id) > (t.id, $1::bigint) and (n.type_id, n.alert_id) < (t.id + 1, 0::bigint) and n.kind <> 'door_open'
        order by n.type_id, n.alert_id limit $2
    ) a
    order by alert_id limit $2
) as a
group by kind, type_id, fingerprint
order by max(alert_id)
