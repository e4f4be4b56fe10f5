"""A unique key that changes hands while somebody decides about it: the owner driven step by step."""

from headrace_broker.model.errors import UniqueKeyTaken
from headrace_broker.model.job import State
from headrace_broker.shards.intents import Verb
from headrace_broker.store.batch import FullBody

from tests.fire.steps import begin, end
from tests.property.machine import Job, Machine

BODY = FullBody(b"{}", more='{"unique_key": "u"}')


async def _submit(machine: Machine) -> int:
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, BODY), machine.type.domain_id, "", b"", 2, unique_key="u")
    await machine.store_keyed()
    job_id, existing = done.result()
    assert not existing
    machine.jobs[job_id] = Job()
    return job_id


async def test_a_key_that_is_taken_between_the_read_and_the_decision_is_read_again(machine: Machine) -> None:
    first = await _submit(machine)
    await machine.change(Verb.ABORT, first)
    task = await begin(machine, Verb.REQUEUE, first)  # has read that the key is free
    second = await _submit(machine)
    change = await end(machine, task)
    assert isinstance(change.error, UniqueKeyTaken) and change.error.job_id == second
    machine.check_memory()
    await machine.crash()


async def test_a_key_that_its_own_job_has_still_is_claimed_by_a_requeue(machine: Machine) -> None:
    first = await _submit(machine)
    await machine.change(Verb.ABORT, first)
    await machine.change(Verb.REQUEUE, first)
    assert machine.jobs[first].state is State.WAITING
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, BODY), machine.type.domain_id, "", b"", 2, unique_key="u")
    await machine.store_keyed()
    assert done.result() == (first, True)
