"""Peers that do not read, and calls that are given up in the middle: what they made the broker keep is gone with them."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message
from headrace_client import Client, JobSpec
from headrace_proto.v1 import agents_pb2, jobs_pb2, logs_pb2, types_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub
from headrace_proto.v1.jobs_pb2_grpc import JobsStub
from headrace_proto.v1.logs_pb2_grpc import LogsStub

from tests.support.processes import BrokerProcess, start_broker, until

OF_EACH = 12  # streams of each kind
JOBS = 2000
ROUNDS = 6
LARGE = b'"' + b"x" * 4000 + b'"'
GROWTH_MB = 6
"""A round that adds less leaves nothing behind: what one keeps while it lasts is several times that. The first rounds use everything for the first time."""


@pytest.fixture
async def broker(database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """Keeps no payloads of waiting jobs, so that what it keeps is the streams'."""
    process = await start_broker(directory, "--cache-bytes", "0", database=database)
    stack.push_async_callback(process.kill)
    return process


async def _gauges(broker: BrokerProcess) -> dict[str, float]:
    async with httpx.AsyncClient(timeout=20) as web:
        text = (await web.get(f"http://{broker.ready['http']}/metrics")).text
    return {name: float(value) for name, value in (line.split() for line in text.splitlines() if line[0] != "#" and "{" not in line)}


def _rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _write(call: Any, *messages: Message) -> None:
    """Until nothing more can be written: who does not read is not read from for ever."""
    try:
        for message in messages:
            async with asyncio.timeout(0.5):
                await call.write(message)
    except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
        pass


async def _round(broker: BrokerProcess, client: Client) -> None:
    """Streams of all kinds whose answers nobody reads; work goes on meanwhile, and then they are given up, some by a word and some with their connections."""
    async with AsyncExitStack() as exits:
        channels = [await exits.enter_async_context(grpc.aio.insecure_channel(broker.address, options=[("grpc.use_local_subchannel_pool", 1)])) for _ in range(3)]
        calls: list[Any] = []
        [job] = [result for result in await client.submit_many([JobSpec("logs", 1)]) if not isinstance(result, Exception)]
        for number in range(OF_EACH):
            channel = channels[number % len(channels)]
            jobs: Any = JobsStub(channel)  # type: ignore[no-untyped-call]
            logs: Any = LogsStub(channel)  # type: ignore[no-untyped-call]
            agents: Any = AgentsStub(channel)  # type: ignore[no-untyped-call]
            calls += [jobs.WatchJobs(jobs_pb2.WatchJobsRequest(types=["t"])), logs.TailLogs(logs_pb2.TailLogsRequest(job_id=job.job_id))]
            submit, agent = jobs.SubmitStream(), agents.Connect()
            column = [types_pb2.PlainSpecs(type="waits", payloads=[LARGE] * 20)]
            await _write(submit, *(jobs_pb2.SubmitStreamRequest(request_no=no, plain=column) for no in range(1, 6)))
            hello = agents_pb2.Hello(agent_name="stuck", incarnation_id=os.urandom(16).hex(), slots=100, types=[agents_pb2.ServedType(type="t")])
            await _write(agent, agents_pb2.ConnectRequest(number=1, hello=hello, credit=agents_pb2.Credit(free=100)))
            calls += [submit, agent]

        async def connected() -> bool:
            return (await _gauges(broker))["headrace_agents_connected"] == OF_EACH

        await until(connected, what="agents that do not read")
        results = await client.submit_many([JobSpec("t", payload=LARGE) for _ in range(JOBS)])
        assert not [result for result in results if isinstance(result, Exception)], "others go on"
        for call in calls[: len(calls) // 2]:
            call.cancel()
    await client.count()


async def test_streams_that_nobody_reads_or_that_are_given_up_leave_nothing_behind(broker: BrokerProcess, client: Client) -> None:
    await client.submit("first", 1)  # the client's own stream stays
    before = await _gauges(broker)

    now = before

    async def gone() -> bool:
        nonlocal now
        now = await _gauges(broker)
        return now["headrace_sessions"] == 0 and now["headrace_tasks"] <= before["headrace_tasks"] + 2

    grown: list[float] = []
    while not grown or (grown[-1] >= GROWTH_MB and len(grown) < ROUNDS):
        memory = _rss_mb(broker.pid)
        await _round(broker, client)
        await until(gone, what=f"the end of what the round left of {before}")
        grown.append(_rss_mb(broker.pid) - memory)
    assert grown[-1] < GROWTH_MB, f"each round leaves something: {grown} MB"
    assert "Traceback" not in broker.log.read_text()
