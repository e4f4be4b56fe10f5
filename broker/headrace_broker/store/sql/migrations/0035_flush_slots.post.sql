-- How older brokers empty the slots of flush rows. Newer ones do it without a function, by another rule.

drop function headrace.trim_flushes(bigint), headrace.flush_slot_spent(int, bigint);
