-- Breakers that are not closed, of the types of one shard.
-- $1 number of shards int, $2 shard int. Index: primary key of job_type. Locks: none.
-- Returns: type_id int, phase text, step int, ended bigint, failed bigint, opened_at timestamptz, changed_at timestamptz, left_s float8 (until a canary may go).
select b.type_id, b.phase, b.step, b.ended, b.failed, b.opened_at, b.changed_at, extract(epoch from b.until_at - now())::float8 as left_s
from headrace.breaker b join headrace.job_type t on t.type_id = b.type_id where t.domain_id % $1 = $2
