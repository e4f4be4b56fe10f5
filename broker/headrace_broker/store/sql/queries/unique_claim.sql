-- Makes jobs that are about to be live again the holders of their unique keys, where no other live job is; in the transaction of the flush that revives them.
-- $1 domain_id int[], $2 key text[], $3 job_id bigint[]; each key once. Indexes: primary keys of unique_key, and of the job and event leaves. Locks: the rows of the keys.
-- Returns a row for each key that was claimed: job_id bigint.
insert into headrace.unique_key as held (domain_id, key, job_id)
select u.domain_id, u.key, u.job_id from unnest($1::int[], $2::text[], $3::bigint[]) as u (domain_id, key, job_id) order by u.domain_id, u.key
on conflict (domain_id, key) do update set job_id = excluded.job_id where held.job_id = excluded.job_id or not headrace.is_live(held.job_id)
returning job_id
