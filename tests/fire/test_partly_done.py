"""Calls that change several jobs, of which some cannot be changed any more: what was done is told. Driven step by step on a real ledger."""

import asyncio

import pytest
from headrace_broker.model.errors import Busy, Draining
from headrace_broker.model.job import State
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Change, Verb

from tests.fire.steps import granted
from tests.property.machine import TESTER, Machine


async def abort(machine: Machine, *job_ids: int) -> "asyncio.Task[list[Change]]":
    """A call that has read where the jobs stand."""
    task = asyncio.ensure_future(changes.request(machine.owner, machine.heads, Verb.ABORT, job_ids, caller=TESTER, reason=""))
    while not machine.owner._changes and not task.done():
        await asyncio.sleep(0)
    return task


async def two_jobs(machine: Machine) -> tuple[int, int]:
    """One that waits, and one that somebody's transaction has completed, of which the owner has not heard yet: it would be read again and again."""
    [completed] = await granted(machine)
    await machine.submit(1)
    await machine.pool.execute("select headrace.complete_job($1, 1)", completed)
    return next(job_id for job_id in machine.jobs if job_id != completed), completed


async def give_away(machine: Machine, error: Draining) -> None:
    """The round that is due is stored; from then on the owner takes no more work."""
    assert machine.ledger is not None
    round_ = machine.owner.build(grant=False)
    await machine.ledger.flush(round_.batch)
    machine.owner.refuse(error)
    machine.owner.settle(round_)


async def test_what_was_changed_before_the_shard_was_given_away_is_told(machine: Machine) -> None:
    waiting, completed = await two_jobs(machine)
    task, error = await abort(machine, completed, waiting), Draining("another broker takes over")
    await give_away(machine, error)
    left, done = await task
    assert (left.job_id, left.state, left.error) == (completed, None, error)
    assert (done.job_id, done.state, done.error) == (waiting, State.ABORTED, None)


async def test_where_nothing_was_changed_the_call_is_refused_as_a_whole(machine: Machine) -> None:
    _, completed = await two_jobs(machine)
    task = await abort(machine, completed, 77)  # there is no such job
    await give_away(machine, Draining("another broker takes over"))
    with pytest.raises(Draining):
        await task


async def test_a_job_that_moves_too_fast_hides_no_others(machine: Machine) -> None:
    waiting, completed = await two_jobs(machine)
    left, done = await machine.until_done(await abort(machine, completed, waiting))
    assert (left.job_id, left.state) == (completed, None) and isinstance(left.error, Busy)
    assert (done.job_id, done.state, done.error) == (waiting, State.ABORTED, None)
    with pytest.raises(Busy):
        await machine.until_done(await abort(machine, completed))
