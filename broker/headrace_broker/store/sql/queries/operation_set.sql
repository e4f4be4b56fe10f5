-- Changes a bulk operation whose row is locked.
-- $1 operation_id bigint, $2 state text, $3 rate float8, $4 stopped_by text, $5 stopped_reason text: of one that is stopped now, else empty.
-- Index: primary key. Locks: its row. Returns nothing.
update headrace.operation
set state = $2, rate = $3, stopped_by = case when $2 = 'stopped' then $4 else stopped_by end, stopped_reason = case when $2 = 'stopped' then $5 else stopped_reason end,
    stopped_at = case when $2 = 'stopped' and state <> 'stopped' then now() else stopped_at end
where operation_id = $1
