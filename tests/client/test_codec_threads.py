"""Where codecs work: in a thread when there is much for them to do, in place when there is not."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from headrace_agent import Agent, JobContext
from headrace_agent.testing import run_job
from headrace_client import Client, JobSpec
from headrace_client.codecs import LARGE_BYTES, About, Codec
from headrace_proto.v1 import jobs_pb2

from tests.support.scripted_broker import scripted_broker, stored

SMALL, LARGE = "x" * 100, "x" * (2 * LARGE_BYTES)


class Noted:
    """A codec that notes in which threads it works. Nothing becomes smaller."""

    name = "noted"
    required = False

    def __init__(self) -> None:
        self.threads: dict[str, list[str]] = {"encode": [], "decode": []}

    def encode(self, data: bytes, about: About, header: bytes) -> tuple[bytes, bytes] | None:
        """See Codec."""
        self.threads["encode"].append(threading.current_thread().name)
        return b"", data

    def decode(self, data: bytes, params: bytes, about: About, header: bytes) -> bytes:
        """See Codec."""
        self.threads["decode"].append(threading.current_thread().name)
        return data

    def digests(self, data: bytes) -> list[bytes] | None:
        """See Codec."""
        return None


async def many(client: Client, data: str) -> None:
    await client.submit_many([JobSpec("t", data)])


async def opened(client: Client, data: str) -> None:
    assert client._codecs is not None
    encoded = client._codecs.encode(data.encode(), "t", "result")
    assert await client._open(encoded, "t", "result") == (data.encode(), None)


WAYS: dict[str, tuple[str, Callable[[Client, str], Coroutine[Any, Any, Any]]]] = {
    "submit": ("encode", lambda client, data: client.submit("t", data)),
    "submit_many": ("encode", many),
    "get": ("decode", opened),
}


@pytest.mark.parametrize(("what", "way"), WAYS.values(), ids=list(WAYS))
async def test_a_client_does_much_work_of_codecs_outside_of_its_event_loop(what: str, way: Callable[[Client, str], Coroutine[Any, Any, Any]]) -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return stored(request)

    codec, here = Noted(), threading.current_thread().name
    async with scripted_broker(answer) as (address, broker), Client(address, codecs=[codec]) as client:
        await way(client, SMALL)
        assert codec.threads[what] == [here]
        await way(client, LARGE)
        assert len(codec.threads[what]) == 2 and codec.threads[what][1] != here
        assert what == "decode" or len(broker.received) == 2


@pytest.mark.parametrize(("data", "same"), [(SMALL, True), (LARGE, False)], ids=["small", "large"])
async def test_an_agent_does_much_work_of_codecs_outside_of_the_event_loop_of_handlers(data: str, same: bool) -> None:
    codec, handlers = Noted(), set[str]()
    agent = Agent("noted", codecs=[codec])

    @agent.job("t")
    async def work(_ctx: JobContext, data: str) -> str:
        handlers.add(threading.current_thread().name)
        codec.threads["encode"].clear()  # what the test itself has encoded
        return data

    done = await run_job(agent, "t", data)
    assert done.value == data
    decoded, encoded = codec.threads["decode"][0], codec.threads["encode"][0]
    assert ({decoded} == handlers, {encoded} == handlers) == (same, same)


async def test_a_submit_that_is_cancelled_while_its_payload_is_encoded_sends_nothing() -> None:
    began, may_end, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    class Slow(Noted):
        def encode(self, data: bytes, about: About, header: bytes) -> tuple[bytes, bytes] | None:
            loop.call_soon_threadsafe(began.set)
            may_end.wait(20)
            return None

    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return stored(request)

    slow: Codec = Slow()
    async with scripted_broker(answer) as (address, broker), Client(address, codecs=[slow]) as client:
        submitting = asyncio.create_task(client.submit("t", LARGE))
        await asyncio.wait_for(began.wait(), 20)
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        may_end.set()
        await client.submit("t", SMALL)
        assert len(broker.received) == 1
