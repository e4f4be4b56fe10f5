-- The payloads that a job has had, newest first: those that took the place of another, and the one of its submission (seq 0).
-- $1 job_id bigint, $2 its retention class int, $3 seqs of the versions whose bytes are wanted int[], $4 rows beside the submission int. Indexes: primary key of the job leaves, note (job_id).
-- Locks: none.
select v.seq, v.at, v.actor, coalesce(octet_length(v.data), 0) as bytes, case when v.seq = any ($3) then v.data end as data
from (
    select 0 as seq, null::timestamptz as at, null::text as actor, j.payload as data from headrace.job j where j.job_id = $1 and (j.job_id & 7) = $2
    union all
    select * from (
        select distinct on (n.lease_epoch) n.lease_epoch, n.at, n.actor, n.data from headrace.note n
        where n.job_id = $1 and (n.job_id & 7) = $2 and n.kind = 8 order by n.lease_epoch desc, n.at desc limit $4
    ) newest
) v
order by v.seq desc
