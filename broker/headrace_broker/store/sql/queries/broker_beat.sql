-- A broker says that it is awake; rows of brokers that have been silent for an hour go.
-- $1 broker text. Index: primary key. Locks: the broker's row, and those that go.
with gone as (delete from headrace.broker_beat where beat_at < clock_timestamp() - interval '1 hour' and broker <> $1)
insert into headrace.broker_beat (broker, beat_at) values ($1, clock_timestamp()) on conflict (broker) do update set beat_at = excluded.beat_at
