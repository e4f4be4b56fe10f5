"""Steps of a machine (`tests.property.machine`): the owner on a real ledger, driven by hand."""

import asyncio
from typing import Any

from headrace_broker.model.job import Kind, State
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Change, Verb

from tests.property.machine import TESTER, Machine


async def settings(machine: Machine, **values: Any) -> None:
    """A person's settings of the type."""
    await machine.types.override(machine.type, values, [], caller=TESTER)


async def granted(machine: Machine, count: int = 1) -> list[int]:
    """New jobs that the agent runs; ids of all that it runs."""
    await machine.submit(count)
    await machine.grant(count)
    return [job_id for job_id, job in machine.jobs.items() if job.state is State.PROCESSING]


async def begin(machine: Machine, verb: Verb, job_id: int, *, force: bool = False) -> "asyncio.Task[list[Change]]":
    """A change that has read where the job stands, and waits to be decided."""
    queued = len(machine.owner._changes)
    task = asyncio.ensure_future(changes.request(machine.owner, machine.heads, verb, [job_id], caller=TESTER, reason="", include_completed=True, force=force))
    while len(machine.owner._changes) == queued and not task.done():
        await asyncio.sleep(0)
    return task


async def end(machine: Machine, task: "asyncio.Task[list[Change]]") -> Change:
    """What became of a change, once it is durable."""
    while not task.done():
        if machine.owner.has_intents:
            await machine.flush()
        await asyncio.sleep(0)
    [change] = task.result()
    return change


async def kinds(machine: Machine, job_id: int) -> list[str]:
    """The kinds of a job's events, oldest first."""
    rows = await machine.pool.fetch("select kind from headrace.event where job_id = $1 order by seq", job_id)
    return [Kind(row["kind"]).name.lower() for row in rows]


async def room(machine: Machine, free: int = 10) -> set[int]:
    """Gives the agent room; returns the jobs that it was granted."""
    assert machine.session is not None
    before = set(machine.session.leases)
    machine.session.set_credit(machine.session.assign_no, free, [])
    machine.owner.hungry[machine.session] = None
    await machine.flush(grant=True)
    return set(machine.session.leases) - before
