-- Those of these jobs that match a filter as they stand now; but for the text of their log, see search_match_text.
-- $1 job_id bigint[], $2 the retention classes of these ids int[], $3 type_id int[], $4 states smallint[], $5 present minute since 1970 (float8: jobs due before it are gone),
-- $6 instance_id text or null, $7 labels text (JSON) or null, $8 agent_id int[] or null, $9 started from timestamptz or null, $10 started before timestamptz or null,
-- $11 settled from timestamptz or null, $12 settled before timestamptz or null, $13 fingerprint text or null.
-- Indexes: primary keys of the job and event leaves, amendments of the note leaves; not that of types, of which there may be millions (+ 0). Locks: none.
-- Returns: job_id bigint, type_id int, state smallint; in no order.
select j.job_id, j.type_id, coalesce(e.state, 1::smallint) as state
from headrace.job j
left join lateral (
    select e.seq, e.state, e.at, e.run, e.delete_minute from headrace.event e
    where e.job_id = j.job_id and (e.job_id & 7) = (j.job_id & 7) and (e.job_id & 7) = any ($2) order by e.seq desc limit 1
) e on true
where j.job_id = any ($1) and (j.job_id & 7) = any ($2) and j.type_id + 0 = any ($3) and coalesce(e.state, 1) = any ($4::smallint[])
  and (e.delete_minute is null or e.state < 3 or e.delete_minute > $5::float8)
  and ($6::text is null or j.instance_id = $6)
  and ($7::text is null or coalesce((
      select convert_from(n.data, 'UTF8')::jsonb -> 'labels' from headrace.note n
      where n.job_id = j.job_id and (n.job_id & 7) = (j.job_id & 7) and (n.job_id & 7) = any ($2) and n.kind = 7 order by n.lease_epoch desc, age(n.xmin), n.at desc limit 1
  ), j.labels) @> $7::text::jsonb)
  and (($8::int[] is null and $9::timestamptz is null and $10::timestamptz is null) or exists (
      select from (
          select g.at, g.agent_id from headrace.event g
          where g.job_id = j.job_id and (g.job_id & 7) = (j.job_id & 7) and (g.job_id & 7) = any ($2) and g.kind = 1 order by g.seq desc limit 1
      ) g where ($8::int[] is null or g.agent_id = any ($8)) and ($9::timestamptz is null or g.at >= $9) and ($10::timestamptz is null or g.at < $10)
  ))
  and (($11::timestamptz is null and $12::timestamptz is null)
      or (e.state in (3, 4, 5) and exists (
          select from (
              select s.at from headrace.event s  -- when it settled: updates since then do not count
              where s.job_id = j.job_id and (s.job_id & 7) = (j.job_id & 7) and (s.job_id & 7) = any ($2) and s.kind <> 16 order by s.seq desc limit 1
          ) s where ($11::timestamptz is null or s.at >= $11) and ($12::timestamptz is null or s.at < $12)
      )))
  and ($13::text is null or (e.state <> 3 and exists (
      select from (
          select f.error from headrace.event f
          where f.job_id = j.job_id and (f.job_id & 7) = (j.job_id & 7) and (f.job_id & 7) = any ($2) and f.error is not null and f.run = e.run order by f.seq desc limit 1
      ) f where f.error ->> 'fingerprint' = $13
  )))
