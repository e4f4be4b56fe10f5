-- Who changed what, and when: rows that are added in the transaction that makes the change, and never change themselves.

create table headrace.audit (
    audit_id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    domain text,                                -- null: not of one domain
    actor text not null,                        -- the token's name, or what the caller said of itself where no token is needed
    token_id int,                               -- null: nobody proved who they are
    on_behalf_of text not null default '',
    action text not null check (action <> ''),  -- thing.verb
    target text not null check (target <> ''),  -- thing/name
    before jsonb,
    after jsonb,
    reason text not null default '',
    request_id text not null
);
create index audit_by_time on headrace.audit (at, audit_id);
create index audit_by_domain on headrace.audit (domain, at, audit_id);
create index audit_by_actor on headrace.audit (actor, at, audit_id);
create index audit_by_target on headrace.audit (target, at, audit_id);

create function headrace.refuse_to_change_the_audit() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is only ever added to' using errcode = 'insufficient_privilege';
end $$;
create trigger audit_is_append_only before update or delete or truncate on headrace.audit for each statement execute function headrace.refuse_to_change_the_audit();
