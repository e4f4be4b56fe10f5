-- Forgets ticks of more than 90 days ago, and schedules that were deleted more than a week ago: their ticks first, a portion at a time, since a schedule may have had millions.
-- No tick comes twice by that: every next one is above ticked_at, and a name that is made again after a week begins then.
-- $1 rows int. Indexes: schedule_fire_by_time, schedule_by_change, primary key of schedule_fire. Locks: the rows. Returns the ticks of the larger portion that went bigint.
with old as (
    delete from headrace.schedule_fire where (schedule_id, nominal_at, request_id) in (
        select schedule_id, nominal_at, request_id from headrace.schedule_fire where fired_at < now() - interval '90 days' order by fired_at limit $1::int
    ) returning 1
), ended as materialized (
    select schedule_id from headrace.schedule where deleted and changed_at < now() - interval '7 days'
), theirs as (
    delete from headrace.schedule_fire where (schedule_id, nominal_at, request_id) in (
        select f.schedule_id, f.nominal_at, f.request_id from ended join headrace.schedule_fire f using (schedule_id) limit $1::int
    ) returning 1
), gone as (
    delete from headrace.schedule s where deleted and changed_at < now() - interval '7 days'  -- again: who makes one anew meanwhile keeps it
        and not exists (select from headrace.schedule_fire f where f.schedule_id = s.schedule_id)
)
select greatest((select count(*) from old), (select count(*) from theirs))
