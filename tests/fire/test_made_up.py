"""Schedules whose missed ticks are made up for, one right after the other; ticks that wait, and one at the end of time. Driven step by step on a real ledger."""

import asyncio
from datetime import UTC, datetime

from headrace_broker.model.job import State
from headrace_broker.model.schedule import Schedule, Spec, When
from headrace_broker.shards.intents import Verb
from headrace_broker.store.schedules import ScheduleStore

from tests.fire.steps import begin, end
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


async def test_a_tick_that_waits_for_the_job_before_goes_before_the_next_one(machine: Machine) -> None:
    owner, store = machine.owner, ScheduleStore(machine.pool, machine.shard)
    spec = Spec(When(interval_s=60), "work", b"{}", overlap="queue")
    schedule, _ = await store.put("poll", spec, machine.type.type_id, owner.clock.now(), caller=TESTER, reason="")
    owner.schedules.apply([schedule])

    async def after(seconds: float) -> Schedule:
        machine.now += seconds
        round_ = owner.schedules.build()
        assert round_ is not None and machine.ledger is not None
        owner.schedules.settle(round_, (await machine.ledger.flush_fires(round_.batch, round_.rows)).fired, frozenset())
        return owner.schedules.by_id[schedule.schedule_id]

    first = await after(61)
    assert first.last_job_id is not None and (await after(60)).queued_at is not None
    assert (await end(machine, await begin(machine, Verb.ABORT, first.last_job_id))).state is State.ABORTED
    assert (await after(60)).queued_at is not None
    assert (await after(1)).queued_at is None
    assert [fire.outcome for fire in await store.fires(schedule.schedule_id, 10)] == ["skipped", "fired", "fired"], "the newest tick first"


async def test_a_tick_after_which_no_time_comes_keeps_no_owner_from_serving(machine: Machine) -> None:
    spec, store = Spec(When(at=datetime(9999, 12, 31, 23, 40, tzinfo=UTC)), "work", b"{}", jitter_s=86_400.0), ScheduleStore(machine.pool, machine.shard)
    schedule, _ = await store.put("never", spec, machine.type.type_id, machine.owner.clock.now(), caller=TESTER, reason="")
    await machine.crash()
    assert machine.owner.schedules.find("default", "never") == schedule and machine.owner.schedules.build() is None
