-- Forgets what is old, a portion at a time: alerts of single jobs, groups that were resolved (with their notices) and silences that ended.
-- An alert stays until it is in the groups of the shard that its type's domain lies in; one of a door is in none.
-- $1 keep alerts, $2 keep the rest, in days int, $3 rows int. Indexes: primary keys of alert and job_type, alert_group_resolved, alert_silence_by_end. Locks: the rows.
-- Returns the rows of the larger portion of alerts or groups that went bigint.
with alerts as (
    delete from headrace.alert where alert_id in (
        select oldest.alert_id from (select alert_id, at, type_id, kind from headrace.alert order by alert_id limit $3) oldest
        join headrace.job_type t using (type_id) join headrace.alert_state s on s.shard = t.domain_id % (select count(*) from headrace.shard)
        where oldest.at < now() - make_interval(days => $1) and (oldest.alert_id <= s.cursor or oldest.kind = 'door_open')
    ) returning 1
), groups as (
    delete from headrace.alert_group where group_id in (
        select group_id from headrace.alert_group where resolved_at < now() - make_interval(days => $2) order by resolved_at limit $3
    ) returning 1
), silences as (
    delete from headrace.alert_silence where silence_id in (
        select silence_id from headrace.alert_silence where ends_at < now() - make_interval(days => $2) order by ends_at limit $3
    )
)
select greatest((select count(*) from alerts), (select count(*) from groups))
