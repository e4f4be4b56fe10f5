"""A second language: the programs of examples/node, which know nothing of headrace but its .proto files, against real brokers and beside Python's agents and clients."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from headrace_client import AdminClient, Client, JobSpec, State, Submitted

from tests.support.node import EXAMPLE, needs_node, node_submit, start_node_agent
from tests.support.processes import BrokerProcess, Process, start_broker, until

pytestmark = needs_node


@pytest.fixture
async def node_agent(broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> Process:
    """The Node agent with the tests' handlers."""
    process = await start_node_agent(directory, broker.address)
    stack.push_async_callback(process.kill)
    return process


def starts(directory: Path, job_id: int) -> int:
    """How often a handler began for a job."""
    ran = directory / "ran.txt"
    return ran.read_text().count(f"start {job_id} ") if ran.exists() else 0


async def started(directory: Path, job_id: int) -> None:
    """Waits for the handler's start."""

    async def check() -> bool:
        return starts(directory, job_id) > 0

    await until(check, what="the handler's start")


async def logged(process: Process, text: str) -> None:
    """Waits for a line in a process's log."""

    async def check() -> bool:
        return text in process.log.read_text()

    await until(check, what=f"{text!r} in the log")


async def test_node_submits_and_a_python_agent_runs(broker: BrokerProcess, client: Client, agent: Process) -> None:
    single = await node_submit(broker.address, "echo", '{"a": [1, null, "ü"]}', "--instance", "case-9", "--wait")
    assert (single.returncode, single.stderr) == (0, "")
    answer = json.loads(single.stdout)
    assert (answer["state"], answer["result"]) == ("JOB_STATE_COMPLETED", {"a": [1, None, "ü"]})
    assert (await client.get(int(answer["job_id"]))).instance_id == "case-9"

    many = await node_submit(broker.address, "echo", "7", "--count", "2500")
    ids = [int(line) for line in many.stdout.split()]
    assert (many.returncode, len(set(ids))) == (0, 2500)
    job = await client.wait(ids[-1], timeout_s=20)
    assert (job.state, job.json_result()) == (State.COMPLETED, 7)

    keyed = [await node_submit(broker.address, "echo", "1", "--key", "once") for _ in range(2)]
    assert keyed[0].stdout == keyed[1].stdout and keyed[0].returncode == 0
    other_body = await node_submit(broker.address, "echo", "2", "--key", "once")
    assert (other_body.returncode, other_body.stdout) == (1, "") and "IDEMPOTENCY_CONFLICT" in other_body.stderr
    refused = await node_submit(broker.address, "no such type!")
    assert (refused.returncode, refused.stdout) == (1, "") and refused.stderr.startswith("INVALID_FIELD: type: ")
    in_a_batch = await node_submit(broker.address, "no such type!", "--count", "2")
    assert (in_a_batch.returncode, in_a_batch.stdout, in_a_batch.stderr.count("INVALID_FIELD")) == (1, "", 2)


async def test_a_handler_that_throws_what_is_no_text_ends_its_own_attempt_alone(client: Client, node_agent: Process) -> None:
    for type_, message in (("half-a-character", "half \ufffd"), ("no-text", "null prototype")):
        job = await client.wait((await client.submit(type_)).job_id, timeout_s=20)
        assert job.state is State.ERROR and job.error is not None and message in job.error.message
    late = (await client.submit("not-for-ages")).job_id

    async def put_off() -> bool:
        return (await client.get(late)).wait_reason == "retry"

    await until(put_off, what="the attempt's end")
    assert node_agent.log.read_text().count("session with") == 1


async def test_python_submits_and_the_node_agent_runs(client: Client, admin: AdminClient, node_agent: Process) -> None:
    ids = {name: (await client.submit(name, data)).job_id for name, data in (("echo", {"a": [1, None, "ü"]}), ("refuse", "not today"), ("try-again", None))}
    jobs = {name: await client.wait(job_id, timeout_s=20) for name, job_id in ids.items()}
    assert (jobs["echo"].state, jobs["echo"].json_result(), jobs["echo"].agent) == (State.COMPLETED, {"a": [1, None, "ü"]}, "node")
    error = jobs["refuse"].error
    assert error is not None and (jobs["refuse"].state, jobs["refuse"].attempt, error.code, error.message) == (State.ERROR, 1, "RangeError", "not today")
    assert "node_handlers.mjs" in error.traceback
    assert (jobs["try-again"].state, jobs["try-again"].json_result()) == (State.COMPLETED, 2)
    [seen] = await admin.list_agents()
    assert (seen.name, seen.slots) == ("node", 10)


async def test_the_node_agent_drains_a_queue_with_all_its_slots(client: Client, node_agent: Process) -> None:
    results = await client.submit_many([JobSpec("echo", n) for n in range(2000)])

    async def all_completed() -> bool:
        return (await client.count()).totals == {State.COMPLETED: 2000}

    await until(all_completed)
    for result in results[::400]:
        assert isinstance(result, Submitted)
        assert (await client.get(result.job_id)).lease_epoch == 1


async def test_results_that_do_not_fit_into_one_message_are_all_delivered(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    agent = await start_node_agent(directory, broker.address, "--slots", "40")
    stack.push_async_callback(agent.kill)
    jobs = [await client.submit("large", 1_000_000) for _ in range(40)]
    for job in jobs:
        assert (await client.wait(job.job_id, timeout_s=30)).state is State.COMPLETED
    assert agent.log.read_text().count("session with") == 1


async def test_heartbeats_keep_a_long_handler_beyond_its_lease(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    agent = await start_node_agent(directory, broker.address, handlers=EXAMPLE / "handlers.mjs")
    stack.push_async_callback(agent.kill)
    job = await client.wait((await client.submit("node.sleep", {"seconds": 5})).job_id, timeout_s=30)  # the lease is 3 s
    assert (job.state, job.json_result(), job.lease_epoch, job.losses) == (State.COMPLETED, 5, 1, 0)


async def test_leases_and_outcomes_outlive_the_broker(database: str, directory: Path, stack: AsyncExitStack) -> None:
    """The broker is killed and started again: what ran goes on under its lease, and what ended meanwhile is delivered; each handler began once."""
    broker = await start_broker(directory, "--lease-s", "20", database=database)
    stack.push_async_callback(broker.kill)
    agent = await start_node_agent(directory, broker.address)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    ids = [(await client.submit("gate", name)).job_id for name in ("meanwhile", "later")]
    for job_id in ids:
        await started(directory, job_id)
    await broker.kill()
    (directory / "meanwhile").touch()
    again = await start_broker(directory, "--lease-s", "20", database=database, listen=f"127.0.0.1:{broker.port}", name="again")
    stack.push_async_callback(again.kill)
    first = await client.wait(ids[0], timeout_s=20)
    assert (await client.get(ids[1])).state is State.PROCESSING
    (directory / "later").touch()
    second = await client.wait(ids[1], timeout_s=20)
    for job in (first, second):
        assert (job.state, job.lease_epoch, job.losses, starts(directory, job.job_id)) == (State.COMPLETED, 1, 0, 1)


async def test_a_handler_stops_when_its_lease_ends_although_nobody_says_so(client: Client, broker: BrokerProcess, directory: Path, node_agent: Process) -> None:
    """A broker that is stopped confirms nothing: the agent counts its leases by itself."""
    job_id = (await client.submit("gate", "open")).job_id
    await started(directory, job_id)
    broker.signal(signal.SIGSTOP)
    try:
        await logged(node_agent, f"stop gate {job_id}/1: the lease was lost")
    finally:
        broker.signal(signal.SIGCONT)
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, job.json_result(), starts(directory, job_id)) == (State.COMPLETED, "open", 2)
    assert job.lease_epoch > 1


async def test_an_abort_reaches_the_handler(client: Client, admin: AdminClient, directory: Path, node_agent: Process) -> None:
    job_id = (await client.submit("gate", "never")).job_id
    await started(directory, job_id)
    [result] = await admin.abort([job_id], reason="enough", grace_s=5)
    assert result.ok
    job = await client.wait(job_id, timeout_s=20)
    assert (job.state, job.error and job.error.code) == (State.ABORTED, "aborted")
    assert f"stop gate {job_id}/1: enough" in node_agent.log.read_text()


async def test_a_timeout_stops_the_handler(client: Client, admin: AdminClient, node_agent: Process) -> None:
    await admin.set_type("gate", timeout_s=0.2, max_attempts=1)
    job = await client.wait((await client.submit("gate", "never")).job_id, timeout_s=20)
    assert (job.state, job.error and job.error.code) == (State.ERROR, "timeout")


async def test_sigterm_finishes_what_runs_and_takes_no_more(client: Client, admin: AdminClient, directory: Path, node_agent: Process) -> None:
    running = (await client.submit("gate", "open")).job_id
    await started(directory, running)
    node_agent.signal(signal.SIGTERM)

    async def draining() -> bool:
        return all(agent.draining for agent in await admin.list_agents())

    await until(draining)
    later = (await client.submit("gate", "open")).job_id
    (directory / "open").touch()
    async with asyncio.timeout(20):
        assert await node_agent.process.wait() == 0
    assert (await client.get(running)).state is State.COMPLETED
    assert ((await client.get(later)).state, starts(directory, later)) == (State.WAITING, 0)


async def test_what_does_not_finish_in_time_is_given_back_uncharged(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    agent = await start_node_agent(directory, broker.address, "--drain-timeout-s", "0.2")
    stack.push_async_callback(agent.kill)
    job_id = (await client.submit("gate", "never")).job_id
    await started(directory, job_id)
    assert await agent.stop() == 0
    job = await client.get(job_id)
    assert (job.state, job.losses) == (State.WAITING, 0)
    assert [attempt.ending for attempt in await client.attempts(job_id)] == ["released"]
