"""Jobs whose instance gets a priority while they are on their way, or wait for a time: each goes on where it belongs. Driven step by step on a real ledger."""

import asyncio
from collections.abc import Awaitable, Callable

from headrace_broker.model.job import State
from headrace_broker.shards.intents import Completions
from headrace_broker.shards.rescore import Rescores
from headrace_broker.store.batch import FullBody
from headrace_broker.store.instances import InstanceStore, WaitingRow

from tests.fire.steps import room
from tests.property.machine import TESTER, Machine

LIMITED = '{"limit_key": "a"}'


class Busy(InstanceStore):
    """Something happens when the first of an instance's jobs were read, before they are brought to their line."""

    def __init__(self, machine: Machine, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(machine.pool, machine.shard)
        self._meanwhile = meanwhile

    async def waiting(self, instance_id: str, above: int) -> tuple[list[WaitingRow], int]:
        found = await super().waiting(instance_id, above)
        if not above:
            await self._meanwhile()
        return found


async def submit(machine: Machine, *bodies: FullBody, after_s: float = 0.0) -> list[int]:
    """Jobs with these bodies; their ids."""
    at = machine.owner.clock.now_s() + after_s if after_s else 0.0
    done = machine.owner.submit([(machine.type, 0, at, body) for body in bodies], 2 * len(bodies))
    await machine.flush()
    return done.result()


async def give_priority(machine: Machine, store: InstanceStore) -> None:
    """The instance `case` gets one, and its jobs follow."""
    await store.set("case", 5, caller=TESTER, reason="")
    rescores = Rescores(machine.owner, store)
    operation = rescores.instance(machine.domain, machine.type.domain_id, "case", 5)
    task = asyncio.ensure_future(rescores.run())
    while operation.state != "done" and not task.done():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert operation.state == "done"


async def test_what_waits_for_a_time_with_terms_is_in_the_checkpoint_after_its_instance_got_a_priority(machine: Machine) -> None:
    [job_id] = await submit(machine, FullBody(b"{}", instance_id="case", more=LIMITED), after_s=60)
    await give_priority(machine, InstanceStore(machine.pool, machine.shard))
    assert list(machine.owner.lines.ids({machine.type.type_id})) == [job_id]
    await machine.checkpoint(store=True, publish=True)
    await machine.crash(check=False)
    assert list(machine.owner.lines.ids(None)) == [job_id]
    machine.now += 61
    await machine.connect({})
    assert await room(machine) == {job_id}


async def test_lines_that_all_jobs_have_left_are_forgotten_once_no_timer_names_them(machine: Machine) -> None:
    await submit(machine, FullBody(b"{}", instance_id="case", more=LIMITED), after_s=60)
    await give_priority(machine, InstanceStore(machine.pool, machine.shard))
    assert len(machine.owner.lines.places()) == 2
    machine.now += 61
    await machine.connect({})
    await room(machine)
    assert len(machine.owner.lines.places()) == 1


async def test_jobs_that_ended_while_those_of_their_instance_were_read_take_none_along(machine: Machine) -> None:
    case = FullBody(b"{}", instance_id="case", more=LIMITED)
    ended, waiting, other = await submit(machine, case, case, FullBody(b"{}", instance_id="other", more=LIMITED))
    await machine.connect({})

    async def complete_one() -> None:
        assert await room(machine, 1) == {ended}
        machine.owner.end([Completions([ended], [1], None, machine)])
        await machine.flush()

    await give_priority(machine, Busy(machine, complete_one))
    assert set(machine.owner.lines.members) == {waiting}
    assert sorted(machine.owner.lines.ids(None)) == sorted([waiting, other])
    assert await room(machine) == {waiting, other}
    assert machine.owner.counts(machine.domain)["work"][State.PROCESSING] == 2
