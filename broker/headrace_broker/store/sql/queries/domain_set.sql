-- Changes settings of a domain, which is made if it is new. One that is there takes no new number: shards go by the numbers, which are to have no gaps.
-- $1 domain text, $2 settings to set text (JSON), $3 names to take back text[]. Index: unique (name). Locks: the row.
-- Returns: settings text, before text (JSON; null: it is new).
with old as (
    select settings from headrace.domain where name = $1 for update
), made as (
    insert into headrace.domain (name, settings) select $1, $2::text::jsonb where not exists (select from old)
    on conflict (name) do update set settings = (headrace.domain.settings - $3::text[]) || $2::text::jsonb
    returning settings
), changed as (
    update headrace.domain set settings = (settings - $3::text[]) || $2::text::jsonb where name = $1 and exists (select from old)
    returning settings
)
select settings::text as settings, (select settings::text from old) as before from (select settings from made union all select settings from changed) done
