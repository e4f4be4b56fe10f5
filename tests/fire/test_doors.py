"""Completions in somebody's transaction that is committed, while the owner does not know of it yet."""

from collections.abc import AsyncIterator

import pytest
from headrace_broker.model.amended import Update
from headrace_broker.model.job import State
from headrace_broker.shards.intents import Verb

from tests.fire.steps import granted, kinds
from tests.property.test_doors import Doors


@pytest.fixture
async def machine(database: str) -> AsyncIterator[Doors]:
    """The owner, on a database of its own, and what comes to it from outside."""
    machine = Doors(database)
    await machine.open()
    yield machine
    await machine.close()


async def _completed(machine: Doors, job_id: int) -> None:
    transaction = await machine.begin()
    assert await machine.complete_through_door(transaction, job_id, machine.jobs[job_id].seq)
    await machine.end(transaction, commit=True)


@pytest.mark.parametrize("include_completed", [True, False])
async def test_a_job_that_is_to_run_again_does_so_although_its_broker_dies_before_it_hears_of_the_completion(machine: Doors, include_completed: bool) -> None:
    [job_id] = await granted(machine)
    await machine.change(Verb.UPDATE, job_id, update=Update(priority=2))
    await machine.change(Verb.REQUEUE, job_id, abort_first=True, include_completed=include_completed, payload=b"again")
    await _completed(machine, job_id)
    await machine.crash()
    assert await kinds(machine, job_id) == ["granted", "completed"] + ["requeued"] * include_completed
    await machine.crash()
    assert await kinds(machine, job_id) == ["granted", "completed"] + ["requeued"] * include_completed, "once"
    await machine.settle_ties()
    machine.check_memory()
    await machine.check_store()


async def test_nothing_is_done_to_a_job_before_its_completion_is_taken_up(machine: Doors) -> None:
    [job_id] = await granted(machine)
    await _completed(machine, job_id)
    for verb in (Verb.UPDATE, Verb.ABORT, Verb.PURGE):  # each is told to come back
        await machine.change(verb, job_id, update=Update(hold=True) if verb is Verb.UPDATE else None)
    await machine.take_inbox()
    assert machine.jobs[job_id].state is State.COMPLETED
    await machine.change(Verb.UPDATE, job_id, update=Update(hold=True))
    await machine.check_store()
