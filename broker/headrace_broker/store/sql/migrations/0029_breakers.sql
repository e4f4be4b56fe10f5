-- Breakers of job types that are not closed: written by the owner when one opens, lets canaries go or closes, and read by the next owner.

create table headrace.breaker (
    type_id int primary key references headrace.job_type,
    phase text not null check (phase in ('open', 'half_open')),
    step int not null check (step > 0),          -- openings in a row
    ended bigint not null,                       -- attempts of the window when it opened
    failed bigint not null,                      -- of those
    opened_at timestamptz not null default now(),
    until_at timestamptz not null,               -- when a canary may go
    changed_at timestamptz not null default now()
);
