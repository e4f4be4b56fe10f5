-- Bulk operations of all domains of a shard that are neither stopped nor finished, the oldest first, as operation_get.
-- $1 rows int, $2 how many shards int, $3 number of the shard int. Index: operation_running. Locks: none.
select o.operation_id, d.name as domain, o.action, o.options::text as options, o.filter::text as filter, o.all_jobs, o.reason, o.actor, o.token_id, o.on_behalf_of,
    o.request_id, o.frozen_id, o.expected, o.expected_complete, o.rate, o.state, o.created_at, o.finished_at, o.stopped_at, o.stopped_by, o.stopped_reason,
    coalesce(p.after_id, 0) as after_id, coalesce(p.matched, 0) as matched, coalesce(p.done, 0) as done, coalesce(p.skipped, 0) as skipped,
    coalesce(p.failed, 0) as failed, p.at
from headrace.operation o join headrace.domain d using (domain_id)
left join lateral (select * from headrace.operation_page p where p.operation_id = o.operation_id order by p.n desc limit 1) p on true
where o.state = 'running' and o.domain_id % $2 = $3
order by o.operation_id limit $1
