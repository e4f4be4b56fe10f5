"""Duties in a queue of two shards that have an owner each: what each does for its own domains, and what one does for all, is done once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from headrace_broker import duties
from headrace_broker.maintenance.loop import repeat
from headrace_broker.maintenance.rollup import LATE
from headrace_broker.model.audit import Caller
from headrace_broker.model.filter import JobFilter
from headrace_broker.model.operation import Action, Deed, OperationState, Plan
from headrace_broker.model.schedule import Spec, When
from headrace_broker.model.shard import all_of
from headrace_broker.shards.operations import FindIds, Operations
from headrace_broker.store.operations import OperationStore
from headrace_broker.store.pool import open_pool
from headrace_broker.store.schedules import ScheduleStore
from headrace_broker.store.settings import SettingsStore
from headrace_broker.store.statements import sql
from headrace_broker.store.statistics import DAY, HOUR, LOCK, MINUTE, Statistics

from tests.fire.steps import kinds
from tests.property.machine import Machine
from tests.support.processes import until
from tests.support.shards import make_domains, run_owner

SHARDS = all_of(2)


@pytest.fixture
async def domains(database: str) -> dict[int, str]:
    """A queue of two shards with a domain in each, by the shard's number."""
    return await make_domains(database, "north", "south")


@pytest.fixture
async def pool(database: str, stack: AsyncExitStack) -> "asyncpg.Pool[Any]":
    """For what a test looks at."""
    made = await open_pool(database, size=3)
    stack.push_async_callback(made.close)
    return made


@pytest.fixture
async def machines(database: str, domains: dict[int, str], stack: AsyncExitStack) -> list[Machine]:
    """An owner of each shard."""
    made = []
    for shard in SHARDS:
        machine = Machine(database, domains[shard.number], shard)
        stack.push_async_callback(machine.close)
        await machine.open()
        made.append(machine)
    return made


def _caller(domain: str) -> Caller:
    return Caller("test", domain, "request")


async def test_a_tick_becomes_one_job_at_the_owner_of_its_domain(database: str, domains: dict[int, str], pool: "asyncpg.Pool[Any]", stack: AsyncExitStack) -> None:
    store, settings = ScheduleStore(pool), SettingsStore(pool)
    for domain in domains.values():
        row = await settings.add_type(domain, "work")
        await store.put("hourly", Spec(When(interval_s=3600), "work"), row.type_id, datetime.now(UTC), caller=_caller(domain), reason="")
    owners = [await run_owner(database, shard, stack) for shard in SHARDS]
    for ownership in owners:
        ownership.advance_clock(3600)
    fired = "select schedule_id, job_id from headrace.schedule_fire where outcome = 'fired'"

    async def all_fired() -> bool:
        return len(await pool.fetch(fired)) >= len(owners)

    await until(all_fired, what="a job of each schedule")
    job_of = dict(await pool.fetch(fired))
    for ownership in owners:
        [schedule] = ownership.owner.schedules.by_id.values()
        assert schedule.domain == domains[ownership.shard.number]
        assert [job_id for _, _, ids in ownership.owner.lanes.copies() for job_id in ids] == [job_of[schedule.schedule_id]]
    await owners[0].drain()
    heir = await run_owner(database, owners[0].shard, stack)
    [schedule] = heir.owner.schedules.by_id.values()
    assert schedule.domain == domains[0] and schedule.fired == 1
    assert dict(await pool.fetch(fired)) == job_of and await pool.fetchval("select count(*) from headrace.job") == len(owners)


async def test_a_bulk_operation_is_run_by_the_owner_of_its_domain_alone(machines: list[Machine]) -> None:
    first, second = machines
    for machine in machines:
        await machine.submit(3)
    asked: list[tuple[int, str]] = []

    def searching(machine: Machine) -> FindIds:
        async def find(domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
            asked.append((machine.shard.number, domain))
            return sorted(machine.jobs), None

        return find

    plan = Plan(JobFilter(), Deed(Action.ABORT), "", all_jobs=True)
    store = OperationStore(first.pool)
    operation = await store.add(plan, frozen_id=max(first.jobs), expected=3, expected_complete=True, start_key="", caller=_caller(first.domain))
    for machine in (second, first):
        operations = Operations(machine.owner, machine.heads, OperationStore(machine.pool, machine.shard), searching(machine))
        await machine.until_done(asyncio.ensure_future(operations.run_once()))
    assert asked == [(first.shard.number, first.domain)]
    found = await store.find(first.domain, operation.operation_id)
    assert (found.state, found.progress.done) == (OperationState.FINISHED, 3)
    assert [await kinds(first, job_id) for job_id in first.jobs] == [["aborted"]] * 3
    second.check_memory()


async def test_minutes_of_all_shards_are_added_up_once(machines: list[Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    for count, machine in enumerate(machines, 2):
        await machine.submit(count)
    statistics = [Statistics(machine.pool) for machine in machines]
    summed: Counter[tuple[int, int, int, int]] = Counter()
    roll = Statistics.roll

    async def noted(by: Statistics, part: int, whole: int, at: int) -> None:
        summed[statistics.index(by), part, whole, at] += 1
        await roll(by, part, whole, at)

    monkeypatch.setattr(Statistics, "roll", noted)
    parts: list[Any] = [SimpleNamespace(owner=machine.owner, shard=machine.shard) for machine in machines]  # what is asked of an Ownership
    rollups = [duties._rollup(*each) for each in zip(statistics, parts, strict=True)]
    for rollup in rollups:
        await rollup.run_once()
    for machine in machines:
        machine.pass_time(2 * 3600)
    for rollup in reversed(rollups):
        await rollup.run_once()
    assert set(summed.values()) == {1} and {number for number, *_ in summed} == {0}, "by the owner of the first shard"
    hours = await machines[0].pool.fetch(
        "select type_id, (numbers ->> 'submitted')::int as n from headrace.stat where span = 60 and agent_id = 0 and numbers ? 'submitted'"
    )
    assert dict(hours) == {machine.type.type_id: count for count, machine in enumerate(machines, 2)}


async def _submitted(machine: Machine, span: int) -> dict[int, int]:
    """Jobs submitted by type, by the sums of a span."""
    rows = await machine.pool.fetch(
        "select type_id, sum((numbers ->> 'submitted')::int) as n from headrace.stat where span = $1 and agent_id = 0 and numbers ? 'submitted' group by 1", span
    )
    return {row["type_id"]: row["n"] for row in rows}


async def test_minutes_that_a_shard_stores_late_are_in_the_sums(machines: list[Machine]) -> None:
    """After an outage the owner of the first shard may add up before others have stored what they counted until then."""
    for count, machine in enumerate(machines, 2):
        await machine.submit(count)
        machine.pass_time(2 * 86_400)
    counted = {machine.type.type_id: count for count, machine in enumerate(machines, 2)}
    for machine in machines:
        parts: Any = SimpleNamespace(owner=machine.owner, shard=machine.shard)  # what is asked of an Ownership
        await duties._rollup(Statistics(machine.pool), parts).run_once()
    assert [await _submitted(machines[0], span) for span in (MINUTE, HOUR, DAY)] == [counted] * 3


async def test_minutes_that_are_stored_while_their_hour_is_added_up_are_in_its_sum(database: str, machines: list[Machine], stack: AsyncExitStack) -> None:
    first, second = machines
    at = int(second.owner.clock.now_s() // 60) // HOUR * HOUR
    await second.submit(2)
    second.pass_time(2 * 3600)
    adding = await asyncpg.connect(database)
    stack.push_async_callback(adding.close)
    parts: Any = SimpleNamespace(owner=second.owner, shard=second.shard)
    row = {"at": at, "type_id": first.type.type_id, "agent_id": 0, "wait": {}, "run": {}, "wait_s": 0, "run_s": 0, "slots": 0, "waiting": 0}
    await Statistics(first.pool).put(first.owner.life_id, [{**row, "numbers": {"submitted": 3}}])
    async with adding.transaction():
        await adding.execute(sql("stat_roll_lock"), LOCK)
        await adding.execute(sql("stat_roll"), MINUTE, HOUR, at)
        storing = asyncio.ensure_future(duties._rollup(Statistics(second.pool), parts).run_once())

        async def waits() -> Any:
            return await first.pool.fetchval("select true from pg_locks where locktype = 'advisory' and classid = $1::int::bigint::oid and not granted", LOCK)

        await until(waits, what="the wait for whoever adds up")
    await storing
    assert await _submitted(first, HOUR) == {first.type.type_id: 3, second.type.type_id: 2}


async def test_minutes_that_become_late_while_they_are_stored_are_in_the_sum_of_their_hour(machines: list[Machine]) -> None:
    """The database is slow, and the owner of the first shard adds up meanwhile."""
    first, second = machines
    for count, machine in enumerate(machines, 2):
        await machine.submit(count)
    adds_up_at = (int(second.owner.clock.now_s() // 60) // HOUR * HOUR + HOUR + LATE) * 60.0
    second.pass_time(adds_up_at - 1 - second.owner.clock.now_s())
    parts: list[Any] = [SimpleNamespace(owner=machine.owner, shard=machine.shard) for machine in machines]  # what is asked of an Ownership

    class Slow(Statistics):
        async def put(self, life_id: int, rows: list[dict[str, Any]]) -> None:
            for machine in machines:
                machine.pass_time(adds_up_at + 1 - machine.owner.clock.now_s())
            await duties._rollup(Statistics(first.pool), parts[0]).run_once()
            await super().put(life_id, rows)

    await duties._rollup(Slow(second.pool), parts[1]).run_once()
    assert await _submitted(first, HOUR) == {machine.type.type_id: count for count, machine in enumerate(machines, 2)}


def _after(seconds: float) -> Callable[[], Awaitable[float]]:
    async def delay() -> float:
        return seconds

    return delay


async def test_what_is_done_for_all_shards_is_done_where_the_first_one_is_owned(database: str, domains: dict[int, str], stack: AsyncExitStack) -> None:
    owning, beside = [await run_owner(database, shard, stack) for shard in SHARDS]
    waiting = await run_owner(database, owning.shard, stack, stands_by=True)
    owning.take_delay, passes = _after(30.0), Counter[str]()

    def duty(name: str) -> Callable[[], Awaitable[None]]:
        async def run_once() -> None:
            passes[name] += 1

        return run_once

    async def thrice(name: str) -> bool:
        return passes[name] >= 3

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        duties = [tasks.create_task(repeat(name, duty(name), period_s=0.01, ownership=each)) for name, each in (("owning", owning), ("waiting", waiting))]
        await until(lambda: thrice("owning"))
        assert passes["waiting"] == 0
        await owning.hand_over()
        await waiting.ready.wait()
        before = passes["owning"]
        await until(lambda: thrice("waiting"))
        assert passes["owning"] == before and beside.ready.is_set()
        for task in duties:
            task.cancel()
