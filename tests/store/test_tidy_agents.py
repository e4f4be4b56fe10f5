"""Lives of agents that were there long ago are forgotten, and none that something still names."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack

import pytest
from headrace_broker.config import Options
from headrace_broker.duties import of_each_shard, once_for_all, rollups_of
from headrace_broker.maintenance import tidy_agents, tidy_lives
from headrace_broker.maintenance.tidy_agents import KEPT_S, SeenAgents, TidyAgents
from headrace_broker.metrics import Metrics
from headrace_broker.parts import build
from headrace_broker.shards import reception
from headrace_broker.shards.session import AgentFacts, Served
from headrace_broker.store.database import Database
from headrace_broker.store.pool import open_pool

from tests.fire.steps import granted
from tests.property.machine import Machine
from tests.support.processes import until

DAY_S = 86_400.0


@pytest.fixture
async def machine(database: str) -> AsyncIterator[Machine]:
    """An owner whose agent runs a job."""
    made = Machine(database)
    await made.open()
    await granted(made)
    yield made
    await made.close()


def tidy(machine: Machine) -> TidyAgents:
    """The duty, a day after agents that are there now may be forgotten."""
    return TidyAgents(machine.settings, lambda: machine.owner.clock.now_s() + KEPT_S + DAY_S)


async def agents(machine: Machine, *names: str) -> list[int]:
    """Lives of agents of these names."""
    return [(await machine.settings.agent("default", name, f"incarnation-of-{name}", "host", 1, "", "", {}))[0] for name in names]


async def left(machine: Machine) -> set[str]:
    """The names of those that are not forgotten."""
    return {row["name"] for row in await machine.pool.fetch("select name from headrace.agent")}


async def seen(machine: Machine, agent_id: int, ago: str) -> None:
    """An agent was there last so long ago."""
    await machine.pool.execute("update headrace.agent set last_seen = now() - $2::text::interval where agent_id = $1", agent_id, ago)


async def fresh(machine: Machine, agent_ids: Iterable[int]) -> list[bool]:
    """Which agents were noted within a minute."""
    query = "select last_seen > now() - interval '1 minute' from headrace.agent where agent_id = $1"
    return [await machine.pool.fetchval(query, agent_id) for agent_id in agent_ids]


async def test_only_lives_that_nothing_names_are_forgotten(machine: Machine) -> None:
    counted, hourly, missed, idle, later = await agents(machine, "counted", "hourly", "missed", "idle", "later")
    await seen(machine, later, "-2 days")
    minute = int(machine.owner.clock.now_s() // 60)
    for span, agent_id in ((1440, counted), (60, hourly)):
        await machine.pool.execute("insert into headrace.stat values ($1, $2, 1, $3, 0, '{}', '{}', '{}', 0, 0, 0, 0)", span, minute // span * span, agent_id)
    await machine.pool.execute("insert into headrace.alert_agent (incarnation_id, domain, name, host) values ('incarnation-of-missed', 'default', 'missed', '')")
    assert await tidy(machine).run_once() == {"agents": 1}
    assert await left(machine) == {"agent", "counted", "hourly", "missed", "later"}
    await machine.pool.execute("delete from headrace.stat")
    await machine.pool.execute("delete from headrace.alert_agent")
    assert await tidy(machine).run_once() == {"agents": 3}
    assert await left(machine) == {"agent", "later"}, "a job says who ran it"
    assert await tidy(machine).run_once() == {}
    [again] = await agents(machine, "idle")  # the process was not gone after all
    assert again not in (idle, missed, counted, hourly, later)


async def test_nobody_is_forgotten_before_the_time(machine: Machine) -> None:
    [early, late] = await agents(machine, "early", "late")
    await seen(machine, early, "66 days")
    await seen(machine, late, "64 days")
    assert await TidyAgents(machine.settings, machine.owner.clock.now_s).run_once() == {"agents": 1}
    assert await left(machine) == {"agent", "late"}


async def test_an_agent_that_has_just_come_back_is_not_forgotten(machine: Machine) -> None:
    await agents(machine, "idle")
    async with machine.pool.acquire() as con, con.transaction():
        await con.execute("update headrace.agent set last_seen = now() + interval '2 days' where name = 'idle'")
        trimming = asyncio.ensure_future(tidy(machine).run_once())

        async def waits() -> bool:
            return bool(await con.fetchval("select count(*) from pg_locks where not granted and pg_backend_pid() = any (pg_blocking_pids(pid))"))

        await until(waits, what="the pass to wait for whoever notes it")
    assert await trimming == {}
    assert await left(machine) == {"agent", "idle"}


async def test_lives_are_forgotten_in_portions(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy_agents, "AT_ONCE", 2)
    monkeypatch.setattr(tidy_agents, "ROUNDS", 2)
    await agents(machine, *(f"idle-{number}" for number in range(5)))
    assert [await tidy(machine).run_once() for _ in range(3)] == [{"agents": 4}, {"agents": 1}, {}]


async def test_nothing_is_forgotten_where_too_much_would_have_to_be_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    await agents(machine, "idle")
    monkeypatch.setattr(tidy_agents, "MOST_BYTES", 8000)  # less than a page
    assert await tidy(machine).run_once() == {}
    assert await left(machine) == {"agent", "idle"}
    assert await machine.settings.named_by_bytes(0) == 0, "events of later jobs are not read"


async def test_agents_that_are_there_are_noted_once_an_hour_and_when_they_come_back_after_a_day(machine: Machine) -> None:
    there, gone, back = await agents(machine, "there", "gone", "back")
    for agent_id in (there, gone, back):
        await seen(machine, agent_id, "2 hours")
    assert await SeenAgents(machine.settings, lambda: [there, back]).run_once() == {}
    assert await fresh(machine, [there, gone, back]) == [True, False, True]
    for agent_id, ago in ((there, "50 minutes"), (gone, "23 hours"), (back, "25 hours")):
        await seen(machine, agent_id, ago)
    await SeenAgents(machine.settings, lambda: [there]).run_once()
    assert await agents(machine, "gone", "back") == [gone, back]
    assert await fresh(machine, [there, gone, back]) == [False, False, True]


async def test_a_broker_notes_agents_that_are_there_and_forgets_others_and_old_lives(database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    for period in ("PERIOD_S", "SEEN_PERIOD_S"):
        monkeypatch.setattr(tidy_agents, period, 0.02)
    monkeypatch.setattr(tidy_lives, "PERIOD_S", 0.02)
    pool = await open_pool(database, size=4)
    stack.push_async_callback(pool.close)
    parts = build(Options.model_validate({}), Database.of(database), pool, pool, 1, Metrics())
    stack.callback(parts.passwords.close)
    [ownership] = parts.ownerships.each
    await parts.settings.domain_id("default", make=True)
    there, gone = [await parts.settings.agent("default", name, f"incarnation-of-{name}", "host", 1, "", "", {}) for name in ("there", "gone")]
    await pool.execute("update headrace.agent set last_seen = now() - case name when 'gone' then interval '70 days' else interval '2 hours' end")

    life = "insert into headrace.life (backend_pid, backend_start, dead, address, version, started_at) values (0, now(), true, '', '0', '2020-01-01') returning life_id"
    old_life = await pool.fetchval(life)

    async def noted() -> bool:
        rows = await pool.fetch("select agent_id from headrace.agent where last_seen > now() - interval '1 minute'")
        forgotten = "select not exists (select from headrace.agent where agent_id = $1) and not exists (select from headrace.life where life_id = $2)"
        return [row["agent_id"] for row in rows] == [there[0]] and bool(await pool.fetchval(forgotten, gone[0], old_life))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(parts.ownerships.run())
        await ownership.ready.wait()
        owner = ownership.owner
        entry = await owner.types.ensure("default", "work")
        facts = AgentFacts(there[0], "there", "incarnation-of-there", "default", "host", 1, "", "", {}, there[1])
        reception.welcome(owner, facts, [Served(entry, 0, "async")], 1, {}, object(), owner.now())
        works = [*once_for_all(parts, Metrics(), retention_period_s=60.0), *of_each_shard(parts, rollups_of(parts), Metrics())]
        duties = [tasks.create_task(work) for work in works]
        await until(noted, what=f"agent {there[0]} noted, agent {gone[0]} and life {old_life} forgotten")
        for duty in duties:
            duty.cancel()
        await parts.ownerships.drain()
