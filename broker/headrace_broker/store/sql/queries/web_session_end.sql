-- Sessions of the manager have ended; safe to repeat. $1 hash bytea[]. Index: primary key. Locks: the rows.
update headrace.web_session set ended_at = clock_timestamp(), changed_at = clock_timestamp() where hash = any ($1::bytea[]) and ended_at is null
