"""Aborts and requeues whose broker or agent dies at each step: what was asked for happens once, and its record tells the whole of it."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from headrace_client import Client, State
from headrace_proto.v1 import agents_pb2

from tests.support.agreement import agree, history
from tests.support.processes import Process, start_agent, start_broker, until
from tests.support.scripted_agent import ScriptedAgent, lease, outcome

ASKED, DELIVERED, ENDED = "asked for", "delivered", "ended"


class Stage:
    """A broker that can be killed and begun again at the same address, with an agent on the wire that holds one job."""

    def __init__(self, database: str, directory: Path, stack: AsyncExitStack) -> None:
        self.database, self.directory, self.stack = database, directory, stack
        self.number = 0

    async def open(self) -> None:
        self.broker = await start_broker(self.directory, database=self.database)
        self.stack.push_async_callback(self.broker.kill)
        self.client = await self.stack.enter_async_context(Client(self.broker.address, timeout_s=20))
        self.hand = ScriptedAgent(self.broker.address)
        self.stack.push_async_callback(self.hand.close)
        await self.hand.connect()
        await self.client.submit("t", "first")
        [self.job] = await self.hand.take(1)

    async def kill(self) -> None:
        """The broker dies; another one serves at its address, and the agent comes back with what it holds."""
        await self.broker.kill()
        self.number += 1
        self.broker = await start_broker(self.directory, database=self.database, listen=self.broker.address, name=f"again-{self.number}")
        self.stack.push_async_callback(self.broker.kill)
        await self.hand.connect()

    async def told(self, phase: agents_pb2.AbortPhase) -> None:
        """The agent says how far the abort came, durably."""
        await self.hand.send(aborts=[agents_pb2.AbortReport(lease=lease(self.job), phase=phase)])
        await self.hand.proven()

    async def ordered(self, times: int) -> None:
        """The agent has been told to stop so many times."""
        await self.hand.until(lambda: len(self.hand.aborts) >= times, f"order {times}")


@pytest.fixture
async def stage(database: str, directory: Path, stack: AsyncExitStack) -> Stage:
    stage = Stage(database, directory, stack)
    await stage.open()
    return stage


@pytest.mark.parametrize("moment", [ASKED, DELIVERED, ENDED])
@pytest.mark.parametrize("again", [False, True], ids=["abort", "abort-then-requeue"])
async def test_an_abort_survives_the_end_of_its_broker(stage: Stage, moment: str, again: bool) -> None:
    client, hand, job = stage.client, stage.hand, stage.job
    if again:
        assert (await client.requeue([job.job_id], abort_first=True, data="second", reason="enough"))[0].ok
    else:
        assert (await client.abort([job.job_id], reason="enough"))[0].ok
    if moment == ASKED:
        await stage.kill()
    await stage.ordered(1)
    await stage.told(agents_pb2.ABORT_PHASE_DELIVERED)
    if moment == DELIVERED:
        hand.aborts.clear()
        await stage.kill()
        await stage.ordered(1)  # pushed again to who came back with the lease
        await stage.told(agents_pb2.ABORT_PHASE_DELIVERED)
    assert (await hand.report(outcome(job, "aborted"))) == ["accepted"]
    if moment == ENDED:
        await stage.kill()
        assert (await hand.report(outcome(job, "aborted"))) == ["already_applied"]
    found = await client.get(job.job_id, full=True)
    assert found.abort is not None
    assert (found.abort.ending, found.abort.reason, found.abort.agent, found.abort.requeue) == ("stopped", "enough", "hand", again)
    assert (await history(client, job.job_id)).count("(abort_delivered)") == 1
    if again:
        assert (found.state, found.run) == (State.WAITING, 2)
        [second] = await hand.take(1)
        assert (second.job_id, second.run, second.payload) == (job.job_id, 2, b'"second"')
    else:
        assert (found.state, found.run) == (State.ABORTED, 1)
    await agree(client, stage.database)


async def test_what_is_asked_for_while_the_broker_dies_happens_once_or_not_at_all(stage: Stage) -> None:
    """The call goes on at the broker that takes over; whatever the first one had stored, there is one new run."""
    client, hand, job = stage.client, stage.hand, stage.job
    calling = asyncio.create_task(client.requeue([job.job_id], abort_first=True, data="second"))
    await asyncio.sleep(0)
    await stage.kill()
    assert (await calling)[0].ok
    await stage.ordered(1)
    assert (await hand.report(outcome(job, "aborted"))) == ["accepted"]
    found = await client.get(job.job_id, full=True)
    assert (found.state, found.run, found.payload) == (State.WAITING, 2, b'"second"')
    await agree(client, stage.database)


async def test_updates_and_holds_survive_the_end_of_the_broker(stage: Stage) -> None:
    client, hand, job = stage.client, stage.hand, stage.job
    low, high = [(await client.submit("t", n)).job_id for n in range(2)]
    await client.update([high], priority=5, data="changed", set_labels={"a": "b"})
    await client.update([job.job_id], hold=True)
    await stage.kill()
    assert (await hand.report(outcome(job, "completed"))) == ["accepted"]
    held = await client.get(job.job_id)
    assert (held.hold, held.delete_at) == (True, None)
    first, second = await hand.take(2)
    assert [(first.job_id, first.payload, dict(first.labels)), (second.job_id, second.payload)] == [(high, b'"changed"', {"a": "b"}), (low, b"0")]
    await agree(client, stage.database)


async def _processing(client: Client, job_id: int) -> None:
    async def check() -> bool:
        return (await client.get(job_id)).state is State.PROCESSING

    await until(check, what="processing")


async def test_an_agent_that_is_killed_with_an_abort_pending_ends_it(client: Client, agent: Process, database: str, directory: Path) -> None:
    job_id, again = [(await client.submit("spin", 60.0)).job_id for _ in range(2)]
    for one in (job_id, again):
        await _processing(client, one)
    await client.abort([job_id], grace_s=60)
    await client.requeue([again], abort_first=True, grace_s=60)

    async def delivered() -> bool:
        return all([(abort := (await client.get(one)).abort) is not None and abort.delivered_at is not None for one in (job_id, again)])

    await until(delivered, what="the agent's word")
    await agent.kill()
    aborted = await client.wait(job_id, timeout_s=30)
    assert (aborted.state, aborted.abort and aborted.abort.ending) == (State.ABORTED, "lost")

    async def waits() -> bool:
        return (await client.get(again)).state is State.WAITING

    await until(waits, what="the new run")
    assert (await client.get(again)).run == 2
    await agree(client, database)


@pytest.mark.parametrize(
    ("type_", "data", "grace_s", "ending"),
    [("gate", "never", 20.0, "stopped"), ("thread", 60.0, 20.0, "stopped"), ("process", "hang", 0.2, "killed")],
    ids=["async", "thread", "process"],
)
async def test_the_agent_says_how_each_kind_of_handler_ended(
    client: Client, agent: Process, database: str, type_: str, data: object, grace_s: float, ending: str
) -> None:
    job_id = (await client.submit(type_, data)).job_id
    await _processing(client, job_id)
    if type_ == "process":  # an abort that comes before the other process has begun stops it

        async def hangs() -> bool:
            return any([line.text.startswith("in process") async for line in client.logs(job_id)])

        await until(hangs, what="the handler's first line")
    await client.abort([job_id], grace_s=grace_s)
    job = await client.wait(job_id, timeout_s=40)
    assert job.state is State.ABORTED and job.abort is not None
    assert (job.abort.ending, job.abort.agent) == (ending, "tester") and job.abort.delivered_at is not None
    await agree(client, database)


async def test_a_thread_that_ignores_its_abort_is_told_and_keeps_its_slot(client: Client, agent: Process, database: str) -> None:
    job_id = (await client.submit("spin", 8.0)).job_id
    await _processing(client, job_id)
    await client.abort([job_id], grace_s=0.1)

    async def ignored() -> bool:
        abort = (await client.get(job_id)).abort
        return abort is not None and abort.ignored_at is not None

    await until(ignored, what="the agent's word that the handler goes on")
    assert (await client.get(job_id)).state is State.PROCESSING
    job = await client.wait(job_id, timeout_s=40)
    assert (job.state, job.abort and job.abort.ending) == (State.ABORTED, "stopped")


async def test_an_agent_resumes_an_abort_that_its_broker_did_not_live_to_see(database: str, directory: Path, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, database=database)
    stack.push_async_callback(first.kill)
    agent = await start_agent(directory, first.address)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(first.address, timeout_s=20))
    job_id = (await client.submit("gate", "never")).job_id
    await _processing(client, job_id)
    agent.signal(signal.SIGSTOP)  # it hears nothing
    await client.abort([job_id], grace_s=5)
    await first.kill()
    second = await start_broker(directory, database=database, listen=first.address, name="second")
    stack.push_async_callback(second.kill)
    agent.signal(signal.SIGCONT)
    job = await client.wait(job_id, timeout_s=40)
    assert job.state is State.ABORTED and job.abort is not None and job.abort.ending in ("stopped", "lost")
    await agree(client, database)
