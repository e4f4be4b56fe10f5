-- Makes a rule, or replaces what it says. Parameters in the order of the columns, $9 channels text[]. Index: unique (domain, name). Locks: its row. Returns as alert_rules.
insert into headrace.alert_rule (domain, name, kind, type, threshold, window_s, minimum, for_s, channels, group_wait_s, group_interval_s, repeat_interval_s)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text[], $10, $11, $12)
on conflict (domain, name) do update set kind = excluded.kind, type = excluded.type, threshold = excluded.threshold, window_s = excluded.window_s,
    minimum = excluded.minimum, for_s = excluded.for_s, channels = excluded.channels, group_wait_s = excluded.group_wait_s,
    group_interval_s = excluded.group_interval_s, repeat_interval_s = excluded.repeat_interval_s
returning rule_id, domain, name, kind, type, threshold, window_s, minimum, for_s, channels, group_wait_s, group_interval_s, repeat_interval_s
