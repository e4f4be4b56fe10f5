"""Where codecs work: in a thread when there is much for them to do, in place when there is not."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from headrace_agent import Agent, AgentError, JobContext
from headrace_agent.job import Job, Terms
from headrace_agent.testing import run_job
from headrace_agent.work import Stop, Work
from headrace_client import Client, JobSpec
from headrace_client.codecs import LARGE_BYTES, About, Codec, Codecs
from headrace_proto.v1 import agents_pb2, jobs_pb2

from tests.agent.test_work import PATIENCE_S, Told
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


class Heard(Told):
    """What the session's thread would hear of one attempt, in order: its checkpoints, each told by its last byte, and its end."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.too_large = False

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        """State for the next attempt. It raises for what is too large, as the session does."""
        if self.too_large:
            raise AgentError("the checkpoint is too large")
        self.order.append(f"checkpoint {data[-1:].decode()}")

    def ended(self, job: Job, outcome: Any) -> None:
        """The attempt is over."""
        self.order.append("ended")
        super().ended(job, outcome)


class Held(Noted):
    """A codec that holds a large checkpoint until it may go on; `began` is set in the loop of the handlers when one is there."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.may_end = asyncio.Event(), threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.worked_in: list[str] = []

    def encode(self, data: bytes, about: About, header: bytes) -> tuple[bytes, bytes] | None:
        """See Codec."""
        if about.part == "checkpoint" and len(data) > LARGE_BYTES:
            self.worked_in.append(threading.current_thread().name)
            assert self.loop is not None
            self.loop.call_soon_threadsafe(self.began.set)
            assert self.may_end.wait(PATIENCE_S)
        return super().encode(data, about, header)


def work_of(agent: Agent, codec: Codec, heard: Heard) -> Work:
    """The agent's only job, which has begun."""
    codecs, nothing = Codecs([codec], "default"), dict[str, Any]()
    work = Work(agent.handlers, middleware=[], lifespans=[], threads=1, reports=heard, client_options=nothing, codecs=codecs)  # type: ignore[arg-type]  # no logs
    work.start()
    work.assign([Job((1, 1), b"", Terms("t", 0, PATIENCE_S, 5, 100, 1000))])
    return work


@pytest.mark.parametrize("aborted", [False, True], ids=["completed", "aborted"])
@pytest.mark.parametrize(("last", "kept"), [(2 * LARGE_BYTES, ["checkpoint a", "checkpoint c"]), (1, ["checkpoint c"])], ids=["large", "small"])
def test_a_large_checkpoint_holds_up_no_handler_and_goes_before_the_outcome_and_never_after_a_newer_one(aborted: bool, last: int, kept: list[str]) -> None:
    codec, heard, agent, waits = Held(), Heard(), Agent("saves"), threading.Event()

    @agent.job("t")
    async def saves(ctx: JobContext) -> None:
        codec.loop = asyncio.get_running_loop()
        ctx.save_checkpoint(b"a" * (2 * LARGE_BYTES))
        await codec.began.wait()  # which would never come where this loop itself encoded it
        ctx.save_checkpoint(b"b" * (2 * LARGE_BYTES))
        ctx.save_checkpoint(b"c" * last)
        try:
            if aborted:
                waits.set()
                await asyncio.Event().wait()
        finally:
            codec.may_end.set()

    work = work_of(agent, codec, heard)
    if aborted:
        assert waits.wait(PATIENCE_S)
        work.stop_attempt(1, 1, Stop.ABORT, 0.0)
    [(_, outcome)] = heard.until(1)
    work.close()
    assert heard.order == [*kept, "ended"]
    assert outcome.kind == agents_pb2.OUTCOME_KIND_ABORTED if aborted else outcome == b""
    assert "headrace-work" not in codec.worked_in


@pytest.mark.parametrize("again", [True, False], ids=["another", "the last"])
def test_a_large_checkpoint_that_is_not_taken_fails_the_next_one_or_the_attempt(again: bool) -> None:
    codec, heard, agent, refused = Held(), Heard(), Agent("saves"), list[str]()
    heard.too_large = True
    codec.may_end.set()

    @agent.job("t")
    async def saves(ctx: JobContext) -> None:
        codec.loop = asyncio.get_running_loop()
        ctx.save_checkpoint(b"a" * (2 * LARGE_BYTES))
        while again and not refused:
            await asyncio.sleep(0)
            try:
                ctx.save_checkpoint(b"b" * (2 * LARGE_BYTES))
            except AgentError as error:
                refused.append(str(error))
                heard.too_large = False
                ctx.save_checkpoint(b"c" * (2 * LARGE_BYTES))

    work = work_of(agent, codec, heard)
    [(_, outcome)] = heard.until(1)
    work.close()
    if again:
        assert (refused, heard.order, outcome) == (["the checkpoint is too large"], ["checkpoint c", "ended"], b"")
    else:
        assert outcome.kind == agents_pb2.OUTCOME_KIND_FAILED and "the checkpoint is too large" in outcome.error.message


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
