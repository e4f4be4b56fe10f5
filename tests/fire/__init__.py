"""Leases under fire: every transition of a job, while what it depends on is killed, stopped, cut off, doubled, reordered or lost.

`board` has one job for each transition that the product has: submit; grant; reject (of an Assign, or by coming back without it); heartbeat and progress (the job
stays); completed; failed and timed out with attempts left, with attempts spent, for good, into `aborted` where the type says so; released and snoozed; lost with losses
left and spent, and `owner_changed` after a takeover; a late outcome; abort of a waiting job, of a processing one (a request, which stays until the attempt ends, by
whatever ending), by force, and by the handler itself; requeue of each settled state; purge. Deletion by date is held by the tests of retention.

The product has no limits by type or key, no schedules, no dependencies and no latest start yet, so no transition comes from those.
"""
