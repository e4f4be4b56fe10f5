-- What a database of jobs alone lacks: alerts that were resolved and some that fire, deliveries, rows of the audit, operations, schedules, people, a week of statistics.
-- Run by pages.py, once: what is there is not made again.

-- name: begin
insert into headrace.domain (name) values ('default') on conflict do nothing;

-- name: groups
insert into headrace.alert_group (domain, source, rule, type, fingerprint, started_at, changed_at, next_at, notified_at, resolved_at, total, pending, silenced, notices, summary)
select 'default', 'job_error', '', (array['mail.send', 'order.sync', 'report.build'])[1 + i % 3], md5(i::text), now() - make_interval(mins => 120000 - i),
    now() - make_interval(mins => 120000 - i), now() + interval '1 hour', now(), case when i % 1000 > 0 then now() - make_interval(mins => 119990 - i) end, i % 900, 0, 0, 2,
    'ConnectionError: the server closed the connection after ' || i || ' ms'
from generate_series(1, 100000) i;

-- name: channels
insert into headrace.alert_channel (domain, name, kind, settings, is_default, send_resolved, cap_per_hour)
select 'default', 'team-' || i, 'webhook', '{"url": "https://example.org/hook"}', false, true, 20 from generate_series(1, 10) i;

-- name: notices
insert into headrace.alert_notice (group_id, channel_id, facts, made_at, sent_at, tries)
select g.group_id, 1 + g.group_id % 10, '{}', now() - make_interval(secs => g.group_id % 100000), now() - make_interval(secs => g.group_id % 100000), 1
from headrace.alert_group g where exists (select from headrace.alert_channel c where c.channel_id = 1 + g.group_id % 10);

-- name: audit
insert into headrace.audit (at, domain, actor, action, target, reason, request_id)
select now() - make_interval(secs => i * 3), 'default', 'user/person-' || i % 40, (array['job.requeue', 'job.abort', 'type.set', 'agent.drain'])[1 + i % 4],
    'job/' || i % 70000, 'asked for by the shop', '' from generate_series(1, 1000000) i;

-- name: operations
insert into headrace.operation (domain_id, action, options, filter, all_jobs, reason, actor, on_behalf_of, request_id, frozen_id, expected, expected_complete, rate, state, finished_at)
select domain_id, 'hold', '{}', '{"types": ["mail.send"]}', false, 'kept for the auditors', 'user/person-1', '', '', 0, 0, true, 0, 'finished', now()
from headrace.domain, generate_series(1, 5000) i where name = 'default';

-- name: schedules
insert into headrace.schedule (domain_id, name, type_id, cron, payload, content_type, instance_id, priority, labels, overlap, missed, max_missed, jitter_s, next_at)
select d.domain_id, 'nightly/' || lpad(i::text, 5, '0'), t.type_id, '30 2 * * *', '{}', 'application/json', '', 0, '{}', 'skip', 'once', 1, 0, now() + interval '90 days'
from headrace.domain d, (select min(type_id) as type_id from headrace.job_type) t, generate_series(1, 1000) i where d.name = 'default';

-- name: tokens
insert into headrace.token (name, domain, role, hash, created_by, revoked_at)
select 'shop-' || i, 'default', 1, sha256(('page' || i)::bytea), 'user/person-1', case when i % 10 > 0 then now() end from generate_series(1, 2000) i;

-- name: users
insert into headrace.account (name, domain, role, created_by) select 'person-' || i, 'default', 1, 'user/person-1' from generate_series(1, 1000) i;

-- name: statistics
insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
select 1, (extract(epoch from now())::bigint / 60)::int - m, t.type_id, a, 0, '{"submitted": 900, "granted": 905, "completed": 890, "failed": 12, "error": 2}',
    '{"3": 400, "9": 300, "17": 205}', '{"20": 600, "28": 290}', 300.0, 5000.0, 40, 100
from generate_series(1, 10080) m, headrace.job_type t, generate_series(0, 8) a
on conflict do nothing;

-- name: hours
insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
select 60, ((extract(epoch from now())::bigint / 3600)::int - h) * 60, t.type_id, a, 0, '{"submitted": 54000, "granted": 54300, "completed": 53400, "failed": 720, "error": 120}',
    '{"3": 24000, "9": 18000, "17": 12300}', '{"20": 36000, "28": 17400}', 18000.0, 300000.0, 40, 100
from generate_series(1, 1440) h, headrace.job_type t, generate_series(0, 8) a
on conflict do nothing;

-- name: end
update headrace.alert_state set cursor = (select coalesce(max(alert_id), 0) from headrace.alert);
