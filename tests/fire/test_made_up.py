"""Schedules whose missed ticks are made up for, one right after the other, and one at the end of time. Driven step by step on a real ledger."""

import asyncio
from datetime import UTC, datetime

from headrace_broker.model.schedule import Spec, When
from headrace_broker.store.schedules import ScheduleStore

from tests.property.machine import TESTER, Machine


async def test_each_job_before_is_aborted_where_missed_ticks_are_made_up_for(machine: Machine) -> None:
    owner, store = machine.owner, ScheduleStore(machine.pool, machine.shard)
    spec = Spec(When(interval_s=60), "work", b"{}", overlap="abort", missed="all", max_missed=4)
    schedule, _ = await store.put("nightly", spec, machine.type.type_id, owner.clock.now(), caller=TESTER, reason="")
    owner.schedules.apply([schedule])
    machine.now += 400
    side = asyncio.ensure_future(owner.schedules.run(store, machine.heads, lambda: machine.now))
    async with asyncio.timeout(20):
        while owner.schedules.by_id[schedule.schedule_id].fired < 4 or owner.schedules.by_id[schedule.schedule_id].aborting_id is not None:
            machine.now += 0.01
            if (round_ := owner.schedules.build()) is not None:
                assert machine.ledger is not None
                owner.schedules.settle(round_, (await machine.ledger.flush_fires(round_.batch, round_.rows)).fired, frozenset())
            if owner.has_intents:
                await machine.flush()
            await asyncio.sleep(0.001)
    side.cancel()
    await asyncio.wait([side])
    states = [row["state"] for row in await machine.pool.fetch("select state from headrace.job_state order by job_id")]
    assert states == ["aborted", "aborted", "aborted", "waiting"]


async def test_a_tick_after_which_no_time_comes_keeps_no_owner_from_serving(machine: Machine) -> None:
    spec, store = Spec(When(at=datetime(9999, 12, 31, 23, 40, tzinfo=UTC)), "work", b"{}", jitter_s=86_400.0), ScheduleStore(machine.pool, machine.shard)
    schedule, _ = await store.put("never", spec, machine.type.type_id, machine.owner.clock.now(), caller=TESTER, reason="")
    await machine.crash()
    assert machine.owner.schedules.find("default", "never") == schedule and machine.owner.schedules.build() is None
