-- Notices go by apprise, too.

alter table headrace.alert_channel drop constraint alert_channel_kind_check, add constraint alert_channel_kind_check check (kind in ('email', 'webhook', 'apprise'));
