-- Several owners beside each other: each life is for one shard, and a broker process has one for each of them. There is one row for each shard that has an owner of its own;
-- the first one takes what the 64 rows meant, which always had the same owner.

delete from headrace.shard where shard > 0;

alter table headrace.life
    add column shard smallint not null default 0,   -- which shard it owns or stands by for
    add column broker text not null default '';     -- the process, the same for all its lives; empty: a broker that did not say so

create table headrace.broker_beat (               -- brokers say each second that they are awake: who hangs is given no shard
    broker text primary key,
    beat_at timestamptz not null
);
