-- Migrations in two phases: what a migration of the second one takes away, a broker that does not know it may still need. So each life says how far its broker knows.

alter table headrace.migration add column phase text not null default 'pre' check (phase in ('pre', 'post'));
alter table headrace.life add column schema int not null default 0;  -- the highest migration that its broker knows
