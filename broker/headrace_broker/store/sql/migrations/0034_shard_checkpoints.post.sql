-- What older brokers know the one checkpoint and the one row of the duty of alerts by: with it there can be no more than one of each.

alter table headrace.checkpoint drop constraint checkpoint_pkey, drop column single;
alter table headrace.alert_state drop constraint alert_state_pkey, drop column one;
