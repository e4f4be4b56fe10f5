"""Connections between agents, clients and brokers that stall, break or stay half open."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from headrace_client import Client, ResultUnknown, State

from tests.support import submitter
from tests.support.processes import BrokerProcess, Process, start_agent, start_broker, until
from tests.support.proxy import Proxy
from tests.support.record import Reader
from tests.support.verdict import Start, drained, judge, read_starts

LEASE_S = 3.0  # of brokers that start_broker starts; heartbeat and grace are 1 s


@pytest.fixture
async def proxy(broker: BrokerProcess) -> AsyncIterator[Proxy]:
    """Before the broker."""
    async with Proxy(broker.address) as proxy:
        yield proxy


@pytest.fixture
async def distant(proxy: Proxy, directory: Path, stack: AsyncExitStack) -> Process:
    """An agent that reaches the broker through the proxy."""
    process = await start_agent(directory, proxy.address, name="distant")
    stack.push_async_callback(process.kill)
    return process


def starts(directory: Path, job_id: int) -> list[Start]:
    """What the handlers wrote down of a job."""
    return read_starts(directory / "ran.txt").get(job_id, [])


async def started(directory: Path, *job_ids: int, times: int = 1) -> None:
    """Waits until handlers of these jobs have begun so often."""

    async def check() -> bool:
        return all(len(starts(directory, job_id)) == times for job_id in job_ids)

    await until(check, what=f"start {times} of {job_ids}")


async def test_a_stall_shorter_than_the_lease_changes_nothing(client: Client, proxy: Proxy, distant: Process, directory: Path) -> None:
    running = (await client.submit("gate", "open")).job_id
    await started(directory, running)
    async with proxy.stalled_for(LEASE_S * 0.6):
        granted = (await client.submit("gate", "open")).job_id  # its Assign is on the way for the whole stall
    await started(directory, granted)
    (directory / "open").touch()
    for job_id in (running, granted):
        job = await client.wait(job_id, timeout_s=20)
        assert (job.state, job.lease_epoch, len(starts(directory, job_id))) == (State.COMPLETED, 1, 1)


@pytest.mark.parametrize("way", ["both", "to_server", "to_client"])
async def test_an_agent_gives_its_handler_up_before_the_job_begins_elsewhere(
    way: str, client: Client, broker: BrokerProcess, proxy: Proxy, distant: Process, database: str, directory: Path, stack: AsyncExitStack
) -> None:
    """One job runs on and is stopped by its agent; another one ends, cannot be delivered, is done again elsewhere, and its late outcome is only noted."""
    runs_on, ends = [(await client.submit("gate", name)).job_id for name in ("later", "soon")]
    await started(directory, runs_on, ends)
    proxy.stall(*([] if way == "both" else [getattr(proxy, way)]))
    near = await start_agent(directory, broker.address, name="near")
    stack.push_async_callback(near.kill)
    (directory / "soon").touch()
    await started(directory, runs_on, times=2)
    first, second = starts(directory, runs_on)
    assert first.end == "stopped" and first.end_at <= second.at and first.pid != second.pid
    await client.wait(ends, timeout_s=20)
    delivered = way == "to_client"
    assert len(starts(directory, ends)) == (1 if delivered else 2)
    proxy.heal()
    if not delivered:
        await until(_logged(distant, f"outcomes of jobs [{ends}] came too late"), what="the late outcome")
    (directory / "later").touch()
    job = await client.wait(runs_on, timeout_s=20)
    assert (job.state, job.lease_epoch, len(starts(directory, runs_on))) == (State.COMPLETED, 3, 2)
    kinds = [event.kind for event in await client.events(ends)]
    assert kinds.count("completed") == 1 and kinds.count("late_outcome") == (0 if delivered else 1)


def _logged(process: Process, text: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return text in process.log.read_text()

    return check


@pytest.mark.parametrize("reset", [True, False])
async def test_a_session_whose_connection_was_cut_goes_on(reset: bool, client: Client, proxy: Proxy, distant: Process, directory: Path) -> None:
    job_id = (await client.submit("gate", "open")).job_id
    await started(directory, job_id)
    for number in range(3):
        accepted = proxy.accepted
        assert proxy.cut(reset=reset) == 1

        async def back(accepted: int = accepted, number: int = number) -> bool:
            return proxy.accepted > accepted and distant.log.read_text().count("resumed") == number + 1

        await until(back, what="the agent's return")
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=20)
    assert (job.state, job.lease_epoch, job.losses, len(starts(directory, job_id))) == (State.COMPLETED, 1, 0, 1)


async def test_work_goes_on_over_a_slow_line(client: Client, proxy: Proxy, distant: Process, directory: Path) -> None:
    proxy.to_server.delay_s = proxy.to_client.delay_s = 0.3
    ids = [(await client.submit("echo", number)).job_id for number in range(20)]
    for job_id in ids:
        job = await client.wait(job_id, timeout_s=20)
        assert (job.state, len(starts(directory, job_id))) == (State.COMPLETED, 1)


async def test_a_half_open_session_does_not_double_work_when_its_broker_is_replaced(database: str, directory: Path, stack: AsyncExitStack) -> None:
    """The agent still believes in its old connection when the new owner greets it."""
    first = await start_broker(directory, database=database, name="first")
    stack.push_async_callback(first.kill)
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)
    proxy = await stack.enter_async_context(Proxy(first.address))
    agent = await start_agent(directory, f"{proxy.address},{second.address}")
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(f"{first.address},{second.address}", timeout_s=20))
    job_id = (await client.submit("gate", "open")).job_id
    await started(directory, job_id)
    proxy.stall()
    await first.kill()
    await until(_logged(agent, f"session with {second.address}"), what="a session with the new owner")
    probe = (await client.submit("echo", 1)).job_id  # granted after whatever the greeting led to
    await client.wait(probe, timeout_s=20)
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=20)
    assert (job.state, job.lease_epoch, len(starts(directory, job_id))) == (State.COMPLETED, 1, 1)


async def test_submits_over_a_connection_that_is_cut_again_and_again(
    client: Client, broker: BrokerProcess, proxy: Proxy, agent: Process, database: str, directory: Path, record_property: Callable[[str, object], None]
) -> None:
    """With keys, without, one by one and by the batch."""
    con = await asyncpg.connect(database)
    load = asyncio.ensure_future(submitter.main(proxy.address, str(directory / "submitted.txt"), "run"))
    record = Reader(directory / "submitted.txt")
    cut = 0
    for number in range(30):

        async def sent() -> bool:
            return any(words[0] == "try" for words in record.read())

        await until(sent, what="a further submit")
        cut += proxy.cut(reset=number % 2 == 0)
    assert not load.done() and cut > 10
    load.cancel()
    await asyncio.wait([load])
    counts = await drained(broker.address)
    verdict = await judge(con, directory / "submitted.txt", directory / "ran.txt", {})
    print(f"\ncut connections of submitters: {cut}; {verdict}")
    record_property("jobs", verdict.jobs)
    assert counts == {"completed": verdict.jobs}
    assert not verdict.faults(), verdict.faults()
    await con.close()


@pytest.mark.parametrize("way", ["to_server", "to_client"])
async def test_a_submit_that_stalls_until_its_deadline_has_an_unknown_result(way: str, client: Client, proxy: Proxy, database: str, stack: AsyncExitStack) -> None:
    distant = await stack.enter_async_context(Client(proxy.address, timeout_s=20))
    await distant.submit("echo", 0)
    proxy.stall(getattr(proxy, way))
    for key in ("", "key"):
        with pytest.raises(ResultUnknown):
            await distant.submit("echo", 1, key=key, timeout_s=0.3)
    proxy.heal()
    keyed = await distant.submit("echo", 1, key="key")
    if way == "to_client":
        assert keyed.existing
    assert (await client.submit("echo", 1, key="key")).job_id == keyed.job_id
    con = await asyncpg.connect(database)
    assert await con.fetchval("select count(*) from headrace.job") == 3  # what was held back arrived, once
    await con.close()
