-- Summarizes new pages of the indexes of events by time. No parameters. Locks: share update exclusive on the leaves, briefly.
select headrace.summarize_event_times()
