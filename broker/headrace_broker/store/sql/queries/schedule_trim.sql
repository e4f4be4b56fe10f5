-- Forgets ticks of more than 90 days ago, at most 5,000 at once, and schedules that were deleted more than a week ago. No tick comes twice by that: every next one is above
-- ticked_at, and a name that is made again after a week begins then.
-- Index: schedule_fire_by_time, schedule_by_change. Locks: the rows.
with old as (
    delete from headrace.schedule_fire where (schedule_id, nominal_at, request_id) in (
        select schedule_id, nominal_at, request_id from headrace.schedule_fire where fired_at < now() - interval '90 days' order by fired_at limit 5000
    )
)
delete from headrace.schedule where deleted and changed_at < now() - interval '7 days'
