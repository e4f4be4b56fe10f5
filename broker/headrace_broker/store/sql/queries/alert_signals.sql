-- Failures that are not in the groups yet, added up. The connection of the owner's flushes alone writes such rows, so ids rise in the order of the commits. Those of doors
-- (door_alert) come over other connections: the cursor must not follow them, or it passes failures by whose commit is under way.
-- $1 cursor bigint, $2 rows int. Index: primary key of alert, forwards from the cursor. Locks: none.
-- Returns kind text, type_id int, fingerprint text, failures bigint, newest bigint (alert_id), first_job_id, last_job_id bigint, summary text (of the newest).
select kind, type_id, fingerprint, count(*) as failures, max(alert_id) as newest, (array_agg(job_id order by alert_id))[1] as first_job_id,
    (array_agg(job_id order by alert_id desc))[1] as last_job_id, (array_agg(summary order by alert_id desc))[1] as summary
from (
    select alert_id, kind, type_id, job_id, coalesce(nullif(error ->> 'fingerprint', ''), nullif(error ->> 'code', ''), '') as fingerprint,
        left(concat_ws(': ', nullif(error ->> 'code', ''), nullif(error ->> 'message', '')), 500) as summary
    from headrace.alert where alert_id > $1 and kind <> 'door_open' order by alert_id limit $2
) as a
group by kind, type_id, fingerprint
order by max(alert_id)
