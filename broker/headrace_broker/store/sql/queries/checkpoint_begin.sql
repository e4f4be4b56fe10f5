-- The side that holds the newest checkpoint; the other one is free. No parameters. Returns side smallint, or no row.
select side from headrace.checkpoint
