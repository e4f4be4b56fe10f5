"""Settled jobs that have terms, when somebody asks for what they are already: nothing is kept in memory for them. Driven step by step on a real ledger."""

import asyncio
import json

from headrace_broker.model.amended import Update
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Completions, Verb
from headrace_broker.store.batch import FullBody

from tests.fire.steps import begin, end, room
from tests.property.machine import TESTER, Machine


async def test_no_line_is_made_for_a_settled_job_that_stays_as_it_is(machine: Machine) -> None:
    done = machine.owner.submit([(machine.type, 0, 0.0, FullBody(b"{}", more=json.dumps({"limit_key": f"customer-{n}"}))) for n in range(3)], 6)
    await machine.flush()
    job_ids = done.result()
    await machine.connect({})
    assert await room(machine) == set(job_ids)
    machine.owner.end([Completions(job_ids, [1, 1, 1], None, machine)])
    await machine.flush()
    assert machine.owner.lines.places() == {}
    asking = changes.request(machine.owner, machine.heads, Verb.UPDATE, job_ids, caller=TESTER, reason="", update=Update(hold=False))
    assert [change.error for change in await machine.until_done(asyncio.ensure_future(asking))] == [None] * 3
    assert machine.owner.lines.places() == {}
    assert (await end(machine, await begin(machine, Verb.REQUEUE, job_ids[0]))).error is None
    assert [terms.limit_key for _, terms in machine.owner.lines.places().values()] == ["customer-0"]
    assert await room(machine) == {job_ids[0]}
    assert machine.owner.lines.leased == 1
