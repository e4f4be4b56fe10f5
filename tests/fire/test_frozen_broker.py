"""A broker that was stopped, with work in flight on all sides, while its standby took over: nothing that it still believes may count."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from headrace_client import AdminClient, Client, State
from headrace_proto.v1 import admin_pb2, agents_pb2, jobs_pb2, types_pb2

from tests.fire.board import Board
from tests.support.agreement import agree, history
from tests.support.processes import start_broker, until
from tests.support.scripted_agent import ScriptedAgent, outcome
from tests.support.wire import Refusal, Wire, refusal_of

GONE = {"NOT_OWNER", "RESULT_UNKNOWN", "DATABASE_UNAVAILABLE"}
KEYED = 20


async def _fate(call: "asyncio.Task[object]") -> Refusal | None:
    """How a call was refused; None: it was answered."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    return None


async def test_a_stopped_broker_wakes_up_fenced_and_nothing_of_it_counts(database: str, directory: Path, stack: AsyncExitStack) -> None:
    first, second = [await start_broker(directory, database=database, name=name) for name in ("first", "second")]
    for broker in (first, second):
        stack.push_async_callback(broker.kill)
    on_first = await stack.enter_async_context(Client(first.address))
    admin = await stack.enter_async_context(AdminClient(first.address))
    client = await stack.enter_async_context(Client(second.address, timeout_s=30))
    board = Board(on_first, admin, first.address, stack, columns=True)
    await board.prepare()
    board.client = client
    loyal = ScriptedAgent(first.address, name="loyal", types=("loyal",))  # its stream to the first broker stays open
    stack.push_async_callback(loyal.close)
    await loyal.connect()
    held_id = (await on_first.submit("loyal")).job_id
    [held] = await loyal.take(1)
    await loyal.credit(50)
    await loyal.proven()

    first.signal(signal.SIGSTOP)
    channel = grpc.aio.insecure_channel(first.address)
    stack.push_async_callback(channel.close)
    wire = Wire(channel)

    def submit(key: str) -> "asyncio.Task[object]":
        request = jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="loyal", payload=b"1", idempotency_key=key))
        return asyncio.create_task(wire.call("Jobs.Submit", request, timeout_s=40))

    in_flight = [submit(f"key-{n}") for n in range(KEYED)]
    unkeyed = [submit("") for _ in range(5)]
    abort = asyncio.create_task(wire.call("Admin.AbortJobs", admin_pb2.AbortJobsRequest(job_ids=[held_id], force=True), timeout_s=40))
    report = asyncio.create_task(
        wire.call("Agents.ReportOutcomes", agents_pb2.ReportOutcomesRequest(incarnation_id=loyal.incarnation_id, outcomes=[outcome(held, "failed")]), timeout_s=40)
    )
    await loyal.send(outcomes=[outcome(held, "failed")])
    acting = asyncio.create_task(board.act())

    async def took_over() -> bool:
        return "took shards over" in second.log.read_text() and "serving" in second.log.read_text()

    await until(took_over, what="the standby to serve")
    before = await client.count(["loyal"])
    assert before.totals == {State.PROCESSING: 1}
    await board.come_back(second.address)
    assigned = len(loyal.jobs)
    first.signal(signal.SIGCONT)

    await loyal.until(lambda: loyal.ended, "the end")
    assert len(loyal.jobs) == assigned and not loyal.dispositions, "no grant of it stands, and no outcome was accepted by it"
    fates = [await _fate(call) for call in (*in_flight, *unkeyed, abort, report)]
    assert all(fate is not None and fate.code == "UNAVAILABLE" and fate.reason in GONE for fate in fates), fates

    async def stands_by() -> bool:
        return "fenced" in first.log.read_text() and "standing by" in first.log.read_text().rpartition("fenced")[2]

    await until(stands_by, what="the woken broker to stand by")
    await acting
    await board.act()
    await board.settle(takeover=True)
    board.check_dispositions()
    ids = {(await client.submit("loyal", payload=b"1", key=f"key-{n}")).job_id for n in range(KEYED)}
    assert len(ids) == KEYED

    async def given_back() -> bool:
        return await history(client, held_id) == ["granted", "owner_changed"]

    await until(given_back, what="the lease of the agent that stayed with the old broker")
    assert (await client.count(["loyal"])).totals == {State.WAITING: KEYED + 1}, "nothing that was refused is stored"
    await agree(client, database)
