"""Jobs that must start within a time: how they end when they do not. The owner is driven step by step on a real ledger."""

import asyncio
from typing import Any

import pytest
from headrace_broker.model.ids import lowest_id_at
from headrace_broker.model.job import Head, Kind, State
from headrace_broker.model.settings import Settings
from headrace_broker.model.starting import EVER, NotYet, check
from headrace_broker.shards import changes, reception
from headrace_broker.shards.intents import Ending, Verb
from headrace_broker.shards.starting import Starting

from tests.fire.steps import begin, end, kinds, settings
from tests.property.machine import TESTER, Machine
from tests.support.crews import grants, join, submit


async def watch(machine: Machine) -> int:
    """One pass over what should have started."""
    pass_ = asyncio.ensure_future(Starting(machine.owner, machine.heads).run_once())
    while not pass_.done():
        if machine.owner.has_intents:
            await machine.flush()
        await asyncio.sleep(0)
    return pass_.result()


@pytest.mark.parametrize("terms", [{}, {"limit_key": "k"}])
async def test_a_job_that_does_not_start_in_time_ends_as_its_type_says(machine: Machine, terms: dict[str, Any]) -> None:
    await settings(machine, start_within_s=10.0, exhausted_state=int(State.ABORTED), alert_on_abort=True)
    jobs = await submit(machine, 3, **terms)
    [later] = await submit(machine, 1, start_s=machine.owner.clock.now_s() + 8, **terms)
    agent = await join(machine)
    [[started]] = await grants(machine, agent, room=1)
    machine.owner.end([Ending(started, 1, Kind.FAILED, machine, None, "{}")])
    await machine.flush()
    assert await watch(machine) == 0
    machine.now += 11
    assert await watch(machine) == 2
    await machine.flush()
    for job_id in jobs[1:]:
        assert await kinds(machine, job_id) == ["expired"]
    assert await machine.pool.fetchval("select count(*) from headrace.event where kind = 12 and state = 5 and error->>'code' = 'not_started'") == 2
    assert await machine.pool.fetchval("select count(*) from headrace.alert where kind = 'job_aborted'") == 2
    other = await join(machine, "other")  # the first one said nothing for too long
    assert set((await grants(machine, other))[0]) == {started, later}, "the one had begun, the other has its time from its start on"


@pytest.mark.parametrize(
    ("moved_at_s", "available_at_s", "until_s"),
    [
        (None, None, 1_900_000_010.0),
        (None, 1_900_000_008.0, 1_900_000_018.0),
        (1_900_000_020.0, None, 1_900_000_030.0),
        (1_900_000_020.0, 1_900_000_025.0, 1_900_000_035.0),
    ],
)
def test_the_time_counts_from_when_a_job_could_start_first(moved_at_s: float | None, available_at_s: float | None, until_s: float) -> None:
    made = lowest_id_at(1_900_000_000.0)
    head = Head(2 if moved_at_s else 0)
    with pytest.raises(NotYet) as early:
        check(made, head, Settings(start_within_s=10.0), moved_at_s=moved_at_s, available_at_s=available_at_s, now_s=until_s - 0.01)
    assert early.value.until_s == pytest.approx(until_s)
    check(made, head, Settings(start_within_s=10.0), moved_at_s=moved_at_s, available_at_s=available_at_s, now_s=until_s)


@pytest.mark.parametrize(("attempt", "losses"), [(1, 0), (0, 1)])
def test_a_job_whose_run_has_begun_is_never_late(attempt: int, losses: int) -> None:
    made = lowest_id_at(1_900_000_000.0)
    with pytest.raises(NotYet) as early:
        check(made, Head(2, State.WAITING, 1, attempt, losses), Settings(start_within_s=10.0), moved_at_s=1_900_000_001.0, available_at_s=None, now_s=2_000_000_000.0)
    assert early.value.until_s == EVER


async def test_a_requeued_job_has_its_time_from_then(machine: Machine) -> None:
    await settings(machine, start_within_s=10.0)
    [job_id] = await submit(machine, 1)
    machine.now += 11
    assert await watch(machine) == 1
    assert (await end(machine, await begin(machine, Verb.REQUEUE, job_id))).state is State.WAITING
    assert machine.ledger is not None
    machine.owner.clock.set(await machine.ledger.database_time(), machine.now, machine.now)  # which the test moved on ahead of it
    assert await watch(machine) == 0
    assert await kinds(machine, job_id) == ["expired", "requeued"]
    machine.now += 10.5
    assert await watch(machine) == 1


async def test_a_job_that_starts_while_it_is_found_late_goes_on(machine: Machine) -> None:
    await settings(machine, start_within_s=10.0)
    [job_id] = await submit(machine, 1)
    agent = await join(machine)
    machine.now += 11
    reception.heartbeat(machine.owner, agent, 5, {}, machine.now)
    task = asyncio.ensure_future(changes.request(machine.owner, machine.heads, Verb.EXPIRE, [job_id], caller=TESTER, reason="late"))
    while not machine.owner._changes:
        await asyncio.sleep(0)
    intent = machine.owner._changes.popleft()
    [[granted]] = await grants(machine, agent)
    machine.owner._changes.append(intent)
    change = await end(machine, task)
    assert (granted, change.state) == (job_id, State.PROCESSING) and change.error is not None
    assert await kinds(machine, job_id) == ["granted"]
