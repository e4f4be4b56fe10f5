-- Forgets lives of agents that were there last before a time, and that nothing names: no event of a job that was made before they had gone, no statistics, no alert.
-- $1 time in seconds since 1970 float8, $2 lowest id of a job that was made when all of them had gone bigint, $3 minute of the time int, $4 rows int.
-- Indexes: primary keys of agent and stat. The events of those jobs are read as a whole: see agent_named_by. Locks: the rows.
-- Returns one row: gone bigint, how many there were.
with old as materialized (
    select a.agent_id from headrace.agent a
    where a.last_seen < to_timestamp($1::float8)
      and not exists (select from headrace.event e where e.job_id < $2 and e.agent_id = a.agent_id)
      and not exists (select from headrace.stat s where s.span in (1, 60, 1440) and s.at <= $3 and s.agent_id = a.agent_id)
      and not exists (select from headrace.alert_agent g where g.incarnation_id = a.incarnation_id)
    limit $4
), gone as (
    delete from headrace.agent a using old where a.agent_id = old.agent_id and a.last_seen < to_timestamp($1::float8) returning a.agent_id
)
select count(*) as gone from gone
