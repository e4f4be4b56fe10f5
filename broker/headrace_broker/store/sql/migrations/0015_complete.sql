-- The completion door: a handler's effects and the completion of its job in one transaction.

-- The minute since 1970 from which a job that completes now is gone, as the broker reckons it: by its newest terms, its submission, its type's settings; null: never.
create function headrace.completed_delete_minute(wanted bigint, wanted_type int) returns int language sql volatile as $$
    select case when not coalesce((terms.said->>'hold')::boolean, false) then
        ceil((extract(epoch from clock_timestamp()) + coalesce((terms.said->>'delete_after_s')::float8, (j.more->>'delete_after_s')::float8,
            (t.overrides->>'delete_completed_after_s')::float8, (t.declared->>'delete_completed_after_s')::float8, 604800)) / 60)::int end
    from headrace.job j join headrace.job_type t on t.type_id = wanted_type
    left join lateral (
        select convert_from(n.data, 'UTF8')::jsonb as said from headrace.note n where n.job_id = wanted and (n.job_id & 7) = (wanted & 7) and n.kind = 7
        order by n.lease_epoch desc, n.at desc limit 1
    ) terms on true
    where j.job_id = wanted and (j.job_id & 7) = (wanted & 7)
$$;

-- The door. The lock keeps the broker from ending the lease while the caller's transaction is open (it asks for the lock first, and does not wait), and a second caller from waiting
-- for the key of the event; the key keeps the ending unique whatever else happens. Runs with its owner's rights. Raises HR001, LEASE_LOST, when the lease is not the current one.
create function headrace.complete_job(job_id bigint, lease_epoch int, result jsonb default null, result_bytes bytea default null, wake boolean default true) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    lease record;
    wrong text;
begin
    wrong := case
        when job_id is null or job_id <= 0 then 'job_id: a positive number'
        when lease_epoch is null or lease_epoch <= 0 then 'lease_epoch: a positive number'
        when result is not null and result_bytes is not null then 'result_bytes: result is set too; set one of them'
        when octet_length(result_bytes) > 8388608 or octet_length(result::text) > 8388608 then 'result: at most 8 MiB; store it elsewhere and give where it is'
    end;
    if wrong is not null then
        raise exception using errcode = 'invalid_parameter_value', message = 'headrace.complete_job: ' || wrong;
    end if;
    perform pg_advisory_xact_lock(job_id);
    select e.* into lease from headrace.event e
    where e.job_id = complete_job.job_id and (e.job_id & 7) = (complete_job.job_id & 7) order by e.seq desc limit 1;
    if lease.kind is distinct from 1 or lease.seq <> lease_epoch then
        raise exception using errcode = 'HR001', message = format('LEASE_LOST: lease %s of job %s is not the current one', lease_epoch, job_id),
            hint = 'Roll back: somebody else may run the job by now.';
    end if;
    begin
        insert into headrace.event (job_id, at, seq, type_id, agent_id, delete_minute, kind, state, run, attempt, losses, reason, result)
        values (complete_job.job_id, clock_timestamp(), lease_epoch + 1, lease.type_id, lease.agent_id, headrace.completed_delete_minute(complete_job.job_id, lease.type_id),
                2, 3, lease.run, lease.attempt, lease.losses, 'in a transaction of its own', coalesce(result_bytes, convert_to(result::text, 'UTF8')));
    exception when unique_violation then  -- the caller's snapshot is older than the ending
        raise exception using errcode = 'HR001', message = format('LEASE_LOST: lease %s of job %s is not the current one', lease_epoch, job_id);
    end;
    insert into headrace.inbox (kind, job_id, lease_epoch) values (2, complete_job.job_id, complete_job.lease_epoch);
    if wake then
        perform pg_notify('headrace_inbox', '');
    end if;
end $$;
revoke execute on function headrace.complete_job(bigint, int, jsonb, bytea, boolean) from public;

-- Transactions that hold the lock of a job: completions that are not committed yet. An advisory lock with one number shows its halves as classid and objid.
create view headrace.open_door as
select (l.classid::bigint << 32 | l.objid::bigint) as job_id, l.pid, a.xact_start, a.application_name, a.state, extract(epoch from clock_timestamp() - a.xact_start)::float8 as open_s
from pg_locks l join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.database = (select oid from pg_database where datname = current_database())
  and a.application_name <> 'headrace flush';

alter table headrace.alert drop constraint alert_kind_check;
alter table headrace.alert add constraint alert_kind_check check (kind in ('job_error', 'job_aborted', 'door_open'));
