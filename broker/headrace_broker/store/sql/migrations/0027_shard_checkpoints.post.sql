-- What older brokers write checkpoints by: with it there can be no more than one.

alter table headrace.checkpoint drop constraint checkpoint_pkey, drop column single;
