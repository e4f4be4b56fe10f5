-- The brokers of before removed what is gone, and its ties, by these.

drop function headrace.retire_range(int, bigint, int, bigint);
drop function headrace.forget_ties(int, bigint, bigint);
