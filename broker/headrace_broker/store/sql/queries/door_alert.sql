-- An alert for a transaction that keeps a job from being settled, unless there is one for this lease.
-- $1 job_id bigint, $2 type_id int, $3 lease epoch int, $4 error text (JSON). Index: alert_by_type. Returns a row when it was written.
insert into headrace.alert (job_id, type_id, seq, kind, error)
select $1, $2, $3, 'door_open', $4::text::jsonb
where not exists (select from headrace.alert a where a.type_id = $2 and a.job_id = $1 and a.seq = $3 and a.kind = 'door_open')
returning alert_id
