"""How long a job is kept that says so itself, when it ends before any agent had it. Driven step by step on a real ledger."""

import json

from headrace_broker.model.job import Kind
from headrace_broker.shards.intents import Ending, Verb
from headrace_broker.store.batch import FullBody

from tests.fire.steps import begin, end, granted, kinds, room
from tests.property.machine import LEASE_S, Machine

KEPT = {"delete_after_s": 60.0}
"""Other than the 30 days of its type."""


async def kept_s(machine: Machine, job_id: int) -> float:
    """How long a job is kept that has just settled."""
    row = await machine.pool.fetchrow("select delete_minute from headrace.event where job_id = $1 order by seq desc limit 1", job_id)
    assert row is not None
    return float(row["delete_minute"]) * 60 - machine.owner.clock.now_s()


async def hold(machine: Machine, parent: int) -> int:
    """A job that waits for another one, and says how long it is kept."""
    body = FullBody(b"{}", more=json.dumps({"depends_on": [parent], **KEPT}))
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, body), machine.type.domain_id, "", b"", 2, depends_on=(parent,))
    await machine.store_keyed()
    await machine.read_standings()
    job_id, _ = done.result()
    assert job_id in machine.owner.graph.unmet
    return job_id


async def test_a_job_that_ends_with_what_it_depends_on_is_kept_as_long_as_it_says(machine: Machine) -> None:
    [parent] = await granted(machine)
    job_id = await hold(machine, parent)
    machine.owner.end([Ending(parent, 1, Kind.FAILED, machine, permanent=True)])
    await machine.flush()
    assert await kinds(machine, job_id) == ["dependency_failed"]
    assert 0 <= await kept_s(machine, job_id) <= 120


async def test_a_held_job_that_is_aborted_is_kept_as_long_as_it_says(machine: Machine) -> None:
    [parent] = await granted(machine)
    job_id = await hold(machine, parent)
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).error is None
    assert 0 <= await kept_s(machine, job_id) <= 120


async def test_a_job_whose_grant_was_never_sent_is_kept_as_long_as_it_says(machine: Machine) -> None:
    done = machine.owner.submit([(machine.type, 0, 0.0, FullBody(b"{}", more=json.dumps(KEPT)))], 2)
    await machine.flush()
    [job_id] = done.result()
    await machine.crash(check=False)  # the next owner knows its id and nothing else
    await machine.connect({})
    assert await room(machine) == {job_id}
    machine.now += LEASE_S + 1  # its agent is lost before anybody has read what is to be sent
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "rejected"]
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).error is None
    assert 0 <= await kept_s(machine, job_id) <= 120
