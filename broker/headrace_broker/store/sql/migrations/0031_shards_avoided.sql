-- A broker that met an error in a shard is given that shard by no other one for a while.

alter table headrace.broker_beat add column avoids smallint[] not null default '{}';  -- shards that it is to be given none of
