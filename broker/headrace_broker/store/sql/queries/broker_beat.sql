-- A broker says that it is awake, and which shards it is not to be given; rows of brokers that have been silent for an hour go.
-- $1 broker text, $2 avoids smallint[]. Index: primary key. Locks: the broker's row, and those that go.
with gone as (delete from headrace.broker_beat where beat_at < clock_timestamp() - interval '1 hour' and broker <> $1)
insert into headrace.broker_beat (broker, beat_at, avoids) values ($1, clock_timestamp(), $2)
on conflict (broker) do update set beat_at = excluded.beat_at, avoids = excluded.avoids
