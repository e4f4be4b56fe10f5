-- Notices for channels, in the transaction of their groups; a channel that was deleted meanwhile gets none.
-- $1 text: JSON array of {group_id, channel_id, facts, made_s}. Locks: the new rows. Returns notice_id bigint, channel_id int.
insert into headrace.alert_notice (group_id, channel_id, facts, made_at)
select u.group_id, u.channel_id, u.facts, to_timestamp(u.made_s)
from jsonb_to_recordset($1::text::jsonb) as u (group_id bigint, channel_id int, facts jsonb, made_s float8) join headrace.alert_channel c using (channel_id)
returning notice_id, channel_id
