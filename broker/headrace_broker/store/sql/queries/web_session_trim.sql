-- Forgets sessions of the manager that ended long ago: none lives for more than twelve hours, and a broker that was away from the database for as long knows of none.
-- No parameters. Index: web_session_changed. Locks: the rows. At most 1,000 at a time.
delete from headrace.web_session where hash in (
    select hash from headrace.web_session where changed_at < clock_timestamp() - interval '7 days' order by changed_at limit 1000
)
