-- Agents that are missed when they go without a word: written by whoever has the duty of alerts, when one comes or goes, so that the next one misses them too.

create table headrace.alert_agent (
    incarnation_id text primary key,
    domain text not null,
    name text not null,
    host text not null,
    gone_at timestamptz                          -- when it was there last; null: it is there
);
