-- Changes settings of a domain, which is made if it is new.
-- $1 domain text, $2 settings to set text (JSON), $3 names to take back text[]. Index: unique (name). Locks: the row.
-- Returns: settings text, before text (JSON; null: it is new).
with old as (
    select settings from headrace.domain where name = $1 for update
)
insert into headrace.domain (name, settings) values ($1, $2::text::jsonb)
on conflict (name) do update set settings = (headrace.domain.settings - $3::text[]) || $2::text::jsonb
returning settings::text as settings, (select settings::text from old) as before
