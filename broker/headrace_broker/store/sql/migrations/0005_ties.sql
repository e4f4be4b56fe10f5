-- What ties jobs to each other: unique keys, and the edges of their graph. Only jobs that are tied to something write here, in flushes of their own.

create table headrace.unique_key (              -- at most one live job of a domain holds a key; a holder that is settled or gone holds it no more
    domain_id int not null,
    key text not null,
    job_id bigint not null,                     -- the newest holder
    primary key (domain_id, key)
) with (fillfactor = 80);
create index on headrace.unique_key (job_id);   -- to remove the keys of jobs that are gone

create table headrace.edge (                    -- who is tied to whom, to be read from either end
    parent_id bigint not null,
    child_id bigint not null,
    kind smallint not null check (kind between 1 and 3),  -- 1 the child waits until the parent has completed; 2 the parent's handler submitted the child;
                                                          -- 3 the child is the callback of a batch and waits until the parent, a member, has settled
    primary key (parent_id, child_id, kind)
);
create index on headrace.edge (child_id, kind, parent_id);

-- Whether a job is stored and not settled: it waits or is being processed.
create function headrace.is_live(wanted bigint) returns boolean language sql stable as $$
    select exists (
        select from headrace.job j
        left join lateral (select e.state from headrace.event e where e.job_id = wanted and (e.job_id & 7) = (wanted & 7) order by e.seq desc limit 1) e on true
        where j.job_id = wanted and (j.job_id & 7) = (wanted & 7) and coalesce(e.state, 1) <= 2
    )
$$;

-- Removes the unique keys and edges of the jobs of one range that are not there any more. Indexes: unique_key (job_id), edge by either end.
create function headrace.forget_ties(class int, lo bigint, hi bigint) returns bigint language plpgsql as $$
declare
    forgotten bigint;
    removed bigint;
begin
    delete from headrace.unique_key k
    where k.job_id >= forget_ties.lo and k.job_id < forget_ties.hi and (k.job_id & 7) = forget_ties.class
      and not exists (select from headrace.job j where j.job_id = k.job_id and (j.job_id & 7) = forget_ties.class and j.job_id >= forget_ties.lo and j.job_id < forget_ties.hi);
    get diagnostics forgotten = row_count;
    delete from headrace.edge x
    where x.parent_id >= forget_ties.lo and x.parent_id < forget_ties.hi and (x.parent_id & 7) = forget_ties.class
      and not exists (select from headrace.job j where j.job_id = x.parent_id and (j.job_id & 7) = forget_ties.class and j.job_id >= forget_ties.lo and j.job_id < forget_ties.hi);
    get diagnostics removed = row_count;
    forgotten := forgotten + removed;
    delete from headrace.edge x
    where x.child_id >= forget_ties.lo and x.child_id < forget_ties.hi and (x.child_id & 7) = forget_ties.class
      and not exists (select from headrace.job j where j.job_id = x.child_id and (j.job_id & 7) = forget_ties.class and j.job_id >= forget_ties.lo and j.job_id < forget_ties.hi);
    get diagnostics removed = row_count;
    return forgotten + removed;
end $$;
