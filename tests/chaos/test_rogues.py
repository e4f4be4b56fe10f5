"""Handlers that kill their agent, block it, do not listen, take all memory, flood, or fork: each harms itself at most, as docs/agents.md says."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from headrace_client import AdminClient, Client, State, Submitted

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, Process, alive, start_agent, until
from tests.support.rogues import LINE_LIMIT
from tests.support.verdict import read_starts

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def rogue(broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> Process:
    """An agent of such handlers."""
    process = await start_agent(directory, broker.address, "--slots", "30", agent="tests.support.rogues:agent", name="rogue")
    stack.push_async_callback(process.kill)
    return process


async def _running(directory: Path, *jobs: Submitted) -> None:
    async def check() -> bool:
        starts = read_starts(directory / "ran.txt")
        return all(job.job_id in starts for job in jobs)

    await until(check, what="the starts of handlers")


@pytest.mark.long
async def test_a_poison_job_ends_after_the_losses_that_it_may_have(
    client: Client, broker: BrokerProcess, database: str, directory: Path, stack: AsyncExitStack, record_property: Callable[[str, object], None]
) -> None:
    """Its agents die with what runs beside it, which runs again and completes."""
    poison = await client.submit("rogue.poison")
    beside = [await client.submit("rogue.innocent", number) for number in range(50)]
    killed = 0
    while (job := await client.get(poison.job_id)).state in (State.WAITING, State.PROCESSING):
        agent = await start_agent(directory, broker.address, agent="tests.support.rogues:agent", name=f"rogue{killed}")
        stack.push_async_callback(agent.kill)

        async def over(agent: Process = agent) -> bool:
            return agent.process.returncode is not None or (await client.get(poison.job_id)).state is State.ERROR

        await until(over, what="the agent's end")
        killed += agent.process.returncode is not None
        assert killed <= 3
    assert (job.state, job.losses, len(read_starts(directory / "ran.txt")[poison.job_id])) == (State.ERROR, 2, 2)
    for item in beside:
        assert (await client.wait(item.job_id, timeout_s=20)).state is State.COMPLETED
    await agree(client, database)
    record_property("kills", killed)
    record_property("kills in flight", killed)


async def test_who_does_not_listen_is_left_to_itself_or_killed(client: Client, admin: AdminClient, rogue: Process, database: str, directory: Path) -> None:
    task, thread, process = jobs = [await client.submit(f"rogue.{name}") for name in ("deaf", "deaf_thread", "deaf_process")]
    await _running(directory, *jobs)
    await admin.abort([job.job_id for job in jobs], reason="test", grace_s=0.2)
    killed = await client.wait(process.job_id, timeout_s=20)
    assert killed.abort is not None and (killed.state, killed.abort.ending, killed.abort.ignored_at) == (State.ABORTED, "killed", None)
    for job in (task, thread):

        async def ignored(job: Submitted = job) -> bool:
            abort = (await client.get(job.job_id)).abort
            return abort is not None and abort.ignored_at is not None

        await until(ignored, what="the agent's word that the handler goes on")
        still = await client.get(job.job_id)
        assert still.abort is not None and (still.state, still.abort.ending) == (State.PROCESSING, "")
    innocent = await client.submit("rogue.innocent", 1)
    assert (await client.wait(innocent.job_id, timeout_s=20)).state is State.COMPLETED  # the others' agent works on
    (directory / "heard").touch()
    wanted = {task: (State.COMPLETED, "finished"), thread: (State.ABORTED, "stopped"), process: (State.ABORTED, "killed")}
    for job, (state, ending) in wanted.items():
        ended = await client.wait(job.job_id, timeout_s=20)
        assert ended.abort is not None and ended.abort.delivered_at is not None and (ended.state, ended.abort.ending) == (state, ending)
        assert (ended.lease_epoch, ended.losses, len(read_starts(directory / "ran.txt")[job.job_id])) == (1, 0, 1)
    await agree(client, database)


@pytest.mark.long
async def test_blocked_loops_leaks_and_floods_harm_only_themselves(client: Client, rogue: Process, database: str, directory: Path) -> None:
    leak = await client.submit("rogue.leak")
    output = await client.submit("rogue.flood_output", 30)
    log = await client.submit("rogue.flood_log")
    await _running(directory, leak, output, log)
    block = await client.submit("rogue.block", 7.0)
    await _running(directory, block)
    innocent = [await client.submit("rogue.innocent", number) for number in range(20)]
    ended = {job.job_id: await client.wait(job.job_id, timeout_s=60) for job in (leak, output, log, block, *innocent)}
    assert (ended[leak.job_id].state, ended[leak.job_id].losses) == (State.ERROR, 0)
    assert "MemoryError" in str(ended[leak.job_id].error)
    for job in (output, log, block, *innocent):
        assert (ended[job.job_id].state, ended[job.job_id].lease_epoch, ended[job.job_id].losses) == (State.COMPLETED, 1, 0)
    lines = [line async for line in client.logs(log.job_id)]
    assert len(lines) <= LINE_LIMIT + 1
    assert "a handler blocks the event loop" in rogue.log.read_text()[-100_000_000:]
    assert rogue.process.returncode is None
    await agree(client, database)


@pytest.mark.long
async def test_what_a_handler_has_started_ends_with_its_process(client: Client, admin: AdminClient, rogue: Process, database: str, directory: Path) -> None:
    """A child that holds the worker's pipe open hides neither its end nor its result, and does not outlive it."""
    jobs = {then: await client.submit("rogue.fork", then) for then in ("return", "die", "hang")}
    assert (await client.wait(jobs["return"].job_id, timeout_s=20)).state is State.COMPLETED
    died = await client.wait(jobs["die"].job_id, timeout_s=20)
    assert died.state is State.ERROR and "exit code 3" in str(died.error)
    await _running(directory, jobs["hang"])
    await until(_there(directory / "child-hang"), what="the child")
    await admin.abort([jobs["hang"].job_id], reason="test", grace_s=0.1)
    assert (await client.wait(jobs["hang"].job_id, timeout_s=20)).state is State.ABORTED
    for then in ("die", "hang"):
        await until(_gone(directory / f"child-{then}"), what="the end of the child")
    assert alive(int((directory / "child-return").read_text()))  # its worker is used again
    await rogue.kill()
    await until(_gone(directory / "child-return"), what="the end of the child")
    await agree(client, database)


def _there(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return path.exists() and bool(path.read_text())

    return check


def _gone(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return not alive(int(path.read_text()))

    return check
