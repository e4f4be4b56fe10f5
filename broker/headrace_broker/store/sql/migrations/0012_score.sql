-- Priorities of instances: part of the score of their jobs.
create table headrace.instance_priority (
    domain_id int not null references headrace.domain,
    instance_id text not null,
    priority int not null,
    changed_at timestamptz not null default clock_timestamp(),
    actor text,
    reason text,
    primary key (domain_id, instance_id)
);
