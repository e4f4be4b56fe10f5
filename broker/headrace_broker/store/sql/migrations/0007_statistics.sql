-- Statistics: what happened in each minute, hour and day. No facts: rows are replaced while their minute lasts, added up, and deleted by age.

create table headrace.stat (
    span int not null check (span in (1, 60, 1440)),   -- minutes that the row is about
    at int not null,                                    -- its first minute, since 1970
    type_id int not null,
    agent_id int not null,                              -- 0: all agents together
    life_id int not null,                               -- who counted; 0: a sum over all
    numbers jsonb not null,                             -- name -> how many
    wait jsonb not null,                                -- bucket -> how many (model/histogram.py)
    run jsonb not null,
    wait_s float8 not null,
    run_s float8 not null,
    slots int not null,                                 -- of agents that serve the type; hours and days: the mean
    waiting bigint not null,                            -- jobs; hours and days: the most
    primary key (span, at, type_id, agent_id, life_id)
);
