"""What is old goes in portions, and all of it, whatever lies before it and however much there is."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from headrace_broker.maintenance import tidy_inbox
from headrace_broker.maintenance.tidy_inbox import TidyInbox
from headrace_broker.shards.schedules import TRIM_S
from headrace_broker.store.alerts import AlertStore
from headrace_broker.store.inbox import Inbox
from headrace_broker.store.pool import open_pool
from headrace_broker.store.schedules import TRIMMED, ScheduleStore
from headrace_broker.store.settings import SettingsStore

from tests.property.machine import Machine
from tests.support.processes import until

TYPE = 1
"""Of the first type that is made."""


@pytest.fixture
async def pool(database: str) -> AsyncIterator["asyncpg.Pool[Any]"]:
    """With a job type."""
    made = await open_pool(database, size=2)
    assert (await SettingsStore(made).add_type("default", "t")).type_id == TYPE
    yield made
    await made.close()


@pytest.fixture
async def machine(database: str) -> AsyncIterator[Machine]:
    """An owner that is driven step by step."""
    made = Machine(database)
    await made.open()
    yield made
    await made.close()


async def _schedule(pool: "asyncpg.Pool[Any]", name: str, ticks: int, *, deleted: bool, fired: str) -> int:
    """A schedule that was changed 8 days ago, with so many ticks that were fired so long ago."""
    schedule_id: int = await pool.fetchval(
        """insert into headrace.schedule
            (domain_id, name, deleted, interval_s, type_id, payload, content_type, instance_id, priority, labels, overlap, missed, max_missed, jitter_s, changed_at)
        values (1, $1, $2, 1, 1, '', '', '', 0, '{}', 'allow', 'skip', 1, 0, now() - interval '8 days') returning schedule_id""",
        name, deleted,
    )  # fmt: skip
    await pool.execute(
        """insert into headrace.schedule_fire (schedule_id, nominal_at, outcome, fired_at)
        select $1, now() - $3::text::interval + n * interval '1 s', 'skipped', now() - $3::text::interval from generate_series(1, $2) n""",
        schedule_id, ticks, fired,
    )  # fmt: skip
    return schedule_id


async def test_a_deleted_schedule_goes_after_its_ticks_however_many_there_are(pool: "asyncpg.Pool[Any]") -> None:
    """One delete of all of them at once would take longer than a statement may, again at each pass."""
    store = ScheduleStore(pool)
    gone = await _schedule(pool, "gone", 25, deleted=True, fired="1 hour")
    stays = await _schedule(pool, "stays", 5, deleted=False, fired="1 hour")
    left = []
    while await store.trim(10):
        left.append(await pool.fetchval("select count(*) from headrace.schedule_fire where schedule_id = $1", gone))
        assert await pool.fetchval("select count(*) from headrace.schedule where schedule_id = $1", gone) == 1
    assert left == [15, 5]
    assert not await store.trim(10)
    assert [row["schedule_id"] for row in await pool.fetch("select schedule_id from headrace.schedule")] == [stays]
    assert await pool.fetchval("select count(*) from headrace.schedule_fire where schedule_id = $1", stays) == 5


async def test_a_schedule_that_is_made_again_while_it_is_about_to_be_forgotten_stays(pool: "asyncpg.Pool[Any]") -> None:
    store = ScheduleStore(pool)
    again = await _schedule(pool, "again", 0, deleted=True, fired="1 hour")
    async with pool.acquire() as con, con.transaction():
        await con.execute("update headrace.schedule set deleted = false, changed_at = now() where schedule_id = $1", again)
        trimming = asyncio.ensure_future(store.trim())

        async def waits() -> bool:
            return bool(await con.fetchval("select count(*) from pg_locks where not granted and pg_backend_pid() = any (pg_blocking_pids(pid))"))

        await until(waits, what="the trim to wait for whoever makes it again")
    assert not await trimming
    assert [row["schedule_id"] for row in await pool.fetch("select schedule_id from headrace.schedule")] == [again]


async def test_of_old_ticks_a_portion_goes_and_it_is_said_that_there_are_more(pool: "asyncpg.Pool[Any]") -> None:
    store = ScheduleStore(pool)
    schedule_id = await _schedule(pool, "busy", 25, deleted=False, fired="91 days")
    assert [await store.trim(10) for _ in range(3)] == [True, True, False]
    assert await pool.fetchval("select count(*) from headrace.schedule_fire where schedule_id = $1", schedule_id) == 0


async def test_the_owner_goes_on_while_there_are_more_old_ticks(machine: Machine) -> None:
    """A hundred schedules of a minute make more than one portion in an hour."""
    assert machine.pool is not None
    schedule_id = await _schedule(machine.pool, "busy", 2 * TRIMMED + 1, deleted=False, fired="91 days")
    schedules, now = machine.owner.schedules, [0.0]
    running = asyncio.ensure_future(schedules.run(ScheduleStore(machine.pool), machine.heads, lambda: now[0]))

    async def left() -> int:
        return int(await machine.pool.fetchval("select count(*) from headrace.schedule_fire where schedule_id = $1", schedule_id))

    async def all_gone() -> bool:
        schedules._wake.set()  # the next time round
        return not await left()

    assert await left() == 2 * TRIMMED + 1
    now[0] = TRIM_S
    await until(all_gone, what="the end of the old ticks")
    running.cancel()
    await asyncio.wait([running])


async def test_of_old_alerts_a_portion_goes_and_it_is_said_that_there_are_more(pool: "asyncpg.Pool[Any]") -> None:
    store = AlertStore(pool)
    old = "select n, 1, 1, 'job_error', now() - interval '500 days' from generate_series(1, 25) n"
    await pool.execute(f"insert into headrace.alert (job_id, type_id, seq, kind, at) {old}")
    await pool.execute("update headrace.alert_state set cursor = (select max(alert_id) from headrace.alert)")
    assert [await store.trim(10) for _ in range(3)] == [True, True, False]
    assert await pool.fetchval("select count(*) from headrace.alert") == 0


async def test_results_go_after_their_day_although_refusals_that_are_kept_longer_lie_before_them(pool: "asyncpg.Pool[Any]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy_inbox, "AT_ONCE", 3)
    refusals, results, young = "'it is so', null", "null, 7", 5
    for values, rows, age in ((refusals, 8, "3 days"), (results, 10, "2 days"), (refusals, 4, "2 days"), (results, 6, "2 days"), (results, young, "1 hour")):
        await pool.execute(
            f"""insert into headrace.inbox_result (inbox_id, reason, job_id, at) select coalesce((select max(inbox_id) from headrace.inbox_result), 0) + n, {values},
            now() - interval '{age}' from generate_series(1, {rows}) n"""
        )

    async def nothing() -> list[str]:
        return ["1:1:"]

    tidy = TidyInbox(Inbox(pool), nothing)
    assert await tidy.run_once() == {"results": 16}
    assert await pool.fetchval("select array_agg(n order by n) from (select count(*) as n from headrace.inbox_result group by reason is null) c") == [young, 12]
    assert await tidy.run_once() == {}
    await pool.execute("update headrace.inbox_result set at = at - interval '1 day'")
    assert await tidy.run_once() == {"results": young}, "what was too young at the last pass is looked at again"
