"""Submits that replace the job with their unique key, the owner driven step by step: what is decided in which round."""

import asyncio

from headrace_broker.model.amended import Amended
from headrace_broker.model.job import Kind, State
from headrace_broker.shards import replacing
from headrace_broker.shards.intents import Change, Completions, Ending, NewJob, Verb
from headrace_broker.store.batch import FullBody

from tests.fire.steps import begin, end, kinds, room
from tests.property.machine import TESTER, Machine


async def _submit(machine: Machine) -> int:
    """A waiting job with a unique key."""
    done = machine.owner.submit_keyed(_job(machine, 0), machine.type.domain_id, "", b"", 2, unique_key="u")
    await machine.store_keyed()
    return done.result()[0]


def _job(machine: Machine, number: int, start_s: float = 0.0) -> NewJob:
    return machine.type, number, start_s, FullBody(str(number).encode(), more='{"unique_key": "u"}')


def _replace(machine: Machine, job_id: int, *numbers: int, start_s: float = 0.0) -> "asyncio.Task[list[Change | None]]":
    jobs = [_job(machine, number, start_s) for number in numbers]
    return asyncio.ensure_future(replacing.replace(machine.owner, machine.heads, job_id, jobs, caller=TESTER))


async def _queued(machine: Machine, count: int) -> None:
    while len(machine.owner._changes) < count:
        await asyncio.sleep(0)


async def _versions(machine: Machine, job_id: int) -> list[tuple[int, bytes]]:
    rows = await machine.pool.fetch("select lease_epoch, data from headrace.note where job_id = $1 and kind = 8 order by lease_epoch", job_id)
    return [(row["lease_epoch"], row["data"]) for row in rows]


async def test_calls_are_decided_in_their_order_one_in_each_round(machine: Machine) -> None:
    job_id = await _submit(machine)
    first = _replace(machine, job_id, 1, 2)
    await _queued(machine, 2)
    second = _replace(machine, job_id, 3)
    await _queued(machine, 3)
    n = machine.ledger.n if machine.ledger is not None else 0
    while not (first.done() and second.done()):
        await machine.flush()
        await asyncio.sleep(0)
    assert [change.state for change in (*first.result(), *second.result()) if change is not None and change.error is None] == [State.WAITING] * 3
    assert machine.ledger is not None and machine.ledger.n == n + 3
    order = [payload for _, payload in await _versions(machine, job_id)]
    assert order == [b"1", b"2", b"3"] and await kinds(machine, job_id) == ["updated"] * 3
    await machine.crash(check=False)
    assert machine.owner.amended[job_id] == Amended(priority=3, labels={}, content_type="")
    await machine.connect({})
    assert await room(machine) == {job_id}
    again = _replace(machine, job_id, 4)
    await _queued(machine, 1)
    await machine.flush()
    [left] = await again
    assert left is not None and left.state is State.PROCESSING, "it runs, and stays as it is"
    assert len(await _versions(machine, job_id)) == 3


async def test_a_job_that_is_settled_before_its_turn_is_not_replaced(machine: Machine) -> None:
    job_id = await _submit(machine)
    abort = await begin(machine, Verb.ABORT, job_id)  # decided first
    late = _replace(machine, job_id, 1)
    await _queued(machine, 2)
    assert (await end(machine, abort)).error is None
    assert await late == [None] and await _replace(machine, job_id, 2) == [None]
    assert not await _versions(machine, job_id) and await kinds(machine, job_id) == ["aborted"]


async def test_a_replaced_job_is_granted_once(machine: Machine) -> None:
    job_id = await _submit(machine)
    replaced = _replace(machine, job_id, 5)  # at another priority
    await _queued(machine, 1)
    await machine.flush()
    assert (await replaced)[0] is not None
    await machine.connect({})
    assert await room(machine) == {job_id}
    machine.owner.end([Completions([job_id], [2], None, machine)])
    await machine.flush()
    assert await room(machine) == set() and await kinds(machine, job_id) == ["updated", "granted", "completed"]


async def test_what_waits_for_a_retry_does_not_start_before_it(machine: Machine) -> None:
    job_id = await _submit(machine)
    await machine.connect({})
    assert await room(machine) == {job_id}
    machine.owner.end([Ending(job_id, 1, Kind.FAILED, machine, error="{}", delay_s=100.0)])
    await machine.flush()
    retry = _replace(machine, job_id, 1)
    await _queued(machine, 1)
    await machine.flush()
    assert (await retry)[0] is not None
    assert await room(machine) == set()
    machine.pass_time(101.0)
    assert await room(machine) == {job_id}
    assert [payload for _, payload in await _versions(machine, job_id)] == [b"1"]
