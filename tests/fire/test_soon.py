"""Jobs that become ready beside the rounds wake the flusher: they are granted at once, and not when something else happens."""

from datetime import UTC, datetime

from headrace_broker.shards.schedules import FireRound
from headrace_broker.store.batch import Batch

from tests.property.machine import Machine
from tests.support.crews import join


async def _hungry(machine: Machine) -> None:
    """An agent with room; nothing is to be done."""
    session = await join(machine)
    session.set_credit(0, 10, [])
    machine.owner.hungry[session] = None
    await machine.flush()
    machine.owner.wake.clear()


async def _store_one_with_a_key(machine: Machine, key: str) -> None:
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, b"{}"), machine.type.domain_id, key, b"hash", 2)
    machine.owner.wake.clear()
    await machine.store_keyed()
    assert done.done()


async def test_a_job_with_a_key(machine: Machine) -> None:
    await _hungry(machine)
    await _store_one_with_a_key(machine, "one")
    assert machine.owner.wake.is_set()
    machine.owner.wake.clear()
    await _store_one_with_a_key(machine, "one")
    assert not machine.owner.wake.is_set(), "it is there already"


async def test_a_job_with_a_key_for_which_nobody_has_room(machine: Machine) -> None:
    await machine.flush()
    await _store_one_with_a_key(machine, "one")
    assert not machine.owner.wake.is_set(), "a commit that stores nothing would be wasted"


async def test_a_job_of_a_schedule(machine: Machine) -> None:
    await _hungry(machine)
    round_, job = FireRound(Batch()), (machine.type, 0, 0.0, b"{}")
    machine.owner.numbering.begin(1)
    job_id = machine.owner.numbering.add_job(round_.batch, job)
    round_.rows.append((1, 1, "tick", datetime.now(UTC), None, ""))
    round_.jobs.append(job)
    machine.owner.schedules.settle(round_, None, frozenset({job_id}))
    assert machine.owner.wake.is_set()
