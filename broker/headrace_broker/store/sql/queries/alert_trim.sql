-- Forgets what is old, a portion at a time: alerts of single jobs, groups that were resolved (with their notices) and silences that ended.
-- $1 keep alerts, $2 keep the rest, in days int, $3 rows int. Indexes: primary key of alert, alert_group_resolved, alert_silence_by_end. Locks: the rows.
with alerts as (
    delete from headrace.alert where alert_id in (
        select alert_id from (select alert_id, at from headrace.alert order by alert_id limit $3) oldest
        where at < now() - make_interval(days => $1) and alert_id <= (select max(cursor) from headrace.alert_state)
    )
), groups as (
    delete from headrace.alert_group where group_id in (
        select group_id from headrace.alert_group where resolved_at < now() - make_interval(days => $2) order by resolved_at limit $3
    )
)
delete from headrace.alert_silence where silence_id in (
    select silence_id from headrace.alert_silence where ends_at < now() - make_interval(days => $2) order by ends_at limit $3
)
