-- Jobs of a type that are in error, by the fingerprint of their error: of those that came into error, the newest so many by id, which may have moved on since.
-- $1 type_id int, $2 jobs that are looked at int, $3 present minute since 1970 (float8: jobs due before it are gone), $4 groups int.
-- Indexes: (state, type_id, job_id) where state in (4, 5) of the event leaves, walked backwards; primary keys of the event leaves. Locks: none.
-- Returns: fingerprint, code, message text (of the newest job, empty: it has none), jobs bigint, newest_id bigint, newest_at, first_at timestamptz; groups and looked bigint, the
-- same in each row: how many groups there are, and how many jobs were looked at. The largest groups first.
with came as materialized (
    select e.job_id, max(e.at) filter (where e.kind <> 16) as at,
        (array_agg(e.run order by e.seq desc) filter (where e.error is not null))[1] as run,
        (array_agg(e.error order by e.seq desc) filter (where e.error is not null))[1] as error
    from headrace.event e
    where e.state in (4, 5) and e.state = 4 and e.type_id = $1
    group by e.job_id order by e.job_id desc limit $2
), there as (
    select c.job_id, coalesce(c.at, s.at) as at, case when c.run = s.run then c.error end as error
    from came c
    join lateral (
        select s.state, s.run, s.at, s.delete_minute from headrace.event s
        where s.job_id = c.job_id and (s.job_id & 7) = (c.job_id & 7) order by s.seq desc limit 1
    ) s on s.state = 4 and (s.delete_minute is null or s.delete_minute > $3::float8)
)
select coalesce(error ->> 'fingerprint', '') as fingerprint, coalesce(error ->> 'code', '') as code,
    coalesce((array_agg(left(error ->> 'message', 1000) order by job_id desc))[1], '') as message, count(*) as jobs, max(job_id) as newest_id,
    (array_agg(at order by job_id desc))[1] as newest_at, min(at) as first_at, count(*) over () as groups, (select count(*) from came) as looked
from there
group by 1, 2 order by jobs desc, newest_id desc limit $4
