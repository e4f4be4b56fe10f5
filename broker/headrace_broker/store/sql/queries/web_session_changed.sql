-- Sessions of the manager that were changed after a time, or within the last minute (the clock may have been set back since), ended ones included; at first those that may
-- still live: none does twelve hours after it began.
-- $1 timestamptz or null. Index: web_session_changed. Locks: none.
-- Returns at most 10,000 rows, oldest change first: hash bytea, number, actor text, role smallint, domain text, user_id, epoch, token_id int, secret_hash bytea,
-- address, browser, shows text, age_s, idle_s float8 (since it began, and was used), ended boolean, changed_at timestamptz.
select hash, number, actor, role, domain, user_id, epoch, token_id, secret_hash, address, browser, shows,
    extract(epoch from clock_timestamp() - began_at)::float8 as age_s, extract(epoch from clock_timestamp() - seen_at)::float8 as idle_s,
    ended_at is not null as ended, changed_at
from headrace.web_session
where changed_at > case when $1::timestamptz is null then now() - interval '12 hours' else least($1, now() - interval '1 minute') end
order by changed_at
limit 10000
