-- Stores how a breaker stands that is not closed, if the life still owns its shard.
-- $1 life_id int, $2 type_id int, $3 phase text, $4 step int, $5 seconds until a canary may go float8, $6 ended bigint, $7 failed bigint.
-- Indexes: primary keys. Locks: the life's row FOR SHARE, the breaker's row. Returns one row, opened_at timestamptz; none: the life has ended.
with fence as materialized (
    select from headrace.life where life_id = $1 and not dead for share
)
insert into headrace.breaker (type_id, phase, step, until_at, ended, failed) select $2, $3, $4, now() + make_interval(secs => $5), $6, $7 from fence
on conflict (type_id) do update set phase = excluded.phase, step = excluded.step, until_at = excluded.until_at, ended = excluded.ended, failed = excluded.failed,
    changed_at = excluded.changed_at
returning opened_at
