-- Another domain is looked at. $1 hash bytea, $2 shows text. Index: primary key. Locks: its row. Returns: changed_at timestamptz; no row: the session has ended, or is not stored.
update headrace.web_session set shows = $2, changed_at = clock_timestamp() where hash = $1 and ended_at is null returning changed_at
