"""Why a stream was refused is told although a message was on its way: gRPC's client hides it then, and whoever writes first must look again."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc.aio._call import StreamStreamCall
from headrace_agent import Agent, JobContext
from headrace_broker.store.ledger import Holder
from headrace_broker.store.peers import Peer
from headrace_client import Client, JobSpec, Unauthenticated
from headrace_proto.streams import StreamEnd
from headrace_proto.v1 import agents_pb2, jobs_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.rpc.test_forwarding import KEY, Scene, scene
from tests.support.processes import ROOT, until
from tests.support.refusing import WHY
from tests.support.wire import heard, say

__all__ = ["scene"]  # a fixture
BUSY_S = 0.3


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """The address of a server that refuses every stream."""
    with subprocess.Popen([sys.executable, "-m", "tests.support.refusing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None and server.stdin is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """When something is written to a stream, the process has been busy for so long that the refusal is there, and nobody has looked at it yet."""
    write = StreamStreamCall.write

    async def late(call: Any, message: Any) -> None:
        await call.wait_for_connection()
        time.sleep(BUSY_S)  # noqa: ASYNC251  # that is what is tested
        await write(call, message)

    monkeypatch.setattr(StreamStreamCall, "write", late)


async def test_the_end_of_a_stream_has_the_reason(refusing: str) -> None:
    async with grpc.aio.insecure_channel(refusing) as channel:
        told = set()
        for _ in range(3):  # once in a while all of it comes so soon that nothing is written
            call = AgentsStub(channel).Connect()  # type: ignore[no-untyped-call]
            end = await say(call, agents_pb2.ConnectRequest(number=1))
            error = await end.error()
            assert error is not None
            told.add((error.code(), error.details(), dict(error.trailing_metadata())["headrace-reason"]))
    assert told == {(grpc.StatusCode.UNAUTHENTICATED, WHY, "TOKEN_INVALID")}


async def test_a_stream_that_ended_well_has_no_error(scene: Scene) -> None:
    stream = scene.submits()
    end = StreamEnd(stream)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF and await end.error() is None


async def test_submits_are_told(refusing: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Client(refusing, timeout_s=20) as client:
        for _ in range(3):
            with pytest.raises(Unauthenticated, match=WHY) as refused:
                await client.submit("t", 1)
            assert refused.value.reason == "TOKEN_INVALID"
        [result] = await client.submit_many([JobSpec("t", 1)])
        assert isinstance(result, Unauthenticated)
    assert "never retrieved" not in caplog.text


async def test_agents_are_told(refusing: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "headrace.session")
    agent, drain = Agent("refused"), asyncio.Event()

    @agent.job("t")
    async def work(_ctx: JobContext) -> None: ...

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.getMessage().startswith("no session")]

    async def thrice() -> bool:
        return len(told()) > 2

    task = asyncio.create_task(agent.run(refusing, drain=drain))
    await until(thrice, what="three refusals")
    drain.set()
    await asyncio.wait_for(task, 20)
    assert set(told()) == {f"no session with {refusing}: {WHY}"}
    assert "never retrieved" not in caplog.text


async def test_who_calls_a_broker_that_stands_by_is_told(refusing: str, scene: Scene) -> None:
    scene.standing.become("standby", Holder(2, "refusing", 1, Peer("here", refusing, "", KEY)))
    for _ in range(3):
        stream = scene.submits()
        end = await say(stream, jobs_pb2.SubmitStreamRequest(request_no=1))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await heard(stream, end)
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, WHY)
