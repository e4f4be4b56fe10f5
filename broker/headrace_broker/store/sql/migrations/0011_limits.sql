-- Settings of domains, pauses with who and why, and checkpoints of jobs that have terms of their own (a limit key, a fairness key, labels that their agent must have).

alter table headrace.domain add column settings jsonb not null default '{}';  -- depth_limit, weight

create table headrace.pause (                   -- what is granted nothing until it is resumed
    domain_id int not null references headrace.domain,
    kind text not null check (kind in ('domain', 'type', 'agent')),
    name text not null,                         -- of the type or the agents; of a domain: empty
    actor text not null,
    reason text not null,
    at timestamptz not null default now(),
    primary key (domain_id, kind, name)
);

alter table headrace.checkpoint_chunk drop constraint checkpoint_chunk_kind_check;
alter table headrace.checkpoint_chunk add constraint checkpoint_chunk_kind_check check (kind between 1 and 5);  -- 5: waiting jobs with terms
alter table headrace.checkpoint_chunk add column terms text;  -- of kind 5: JSON list of [type_id, terms]; `what` is position in it << 32 | priority + 2^31, `due` 0 for those that are ready
