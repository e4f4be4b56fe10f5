"""What a stream that waits keeps: a broker may have 10,000 agents with nothing to do. No broker, no clock."""

import asyncio
import weakref
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.rpc.interceptors import Guard
from headrace_broker.shards.session import AgentFacts, Session, Wake

FACTS = AgentFacts(1, "hand", "i" * 16, "default", "here", 1, "", "", {}, datetime.now(UTC))


class Message:
    """Of either side."""


async def _wait(beginning: "asyncio.Task[Any]") -> None:
    """Until the task waits."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not beginning.done()


async def test_nothing_of_what_came_and_went_is_kept_until_the_next_message() -> None:
    sent: asyncio.Queue[Message] = asyncio.Queue()
    seen: list[weakref.ref[Message]] = []

    async def requests() -> AsyncIterator[Message]:
        while True:
            yield await sent.get()

    async def answering(each: AsyncIterator[Message], _context: object) -> AsyncIterator[Message]:
        while True:
            seen.append(weakref.ref(await anext(each)))
            yield Message()

    handler = SimpleNamespace(stream_stream=answering, request_streaming=True)
    stream = Guard(Metrics())._stream(handler, "/headrace.v1.Agents/Connect", None)(requests(), None)
    sent.put_nowait(Message())
    seen.append(weakref.ref(await anext(stream)))
    waiting: asyncio.Task[Message] = asyncio.ensure_future(anext(stream))
    await _wait(waiting)
    assert [message() for message in seen] == [None, None]
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_session_with_nothing_to_say_has_no_message_ready_and_looking_makes_none() -> None:
    session = Session(FACTS, [], 4, 0.0)
    session.attach(object(), 0.0)
    assert not session.due and not session.unread and session._out is None
    session.out.not_held.append((1, 1))
    assert session.due and session.unread == 1
    assert session.take_out(1.0).not_held == [(1, 1)]
    assert not session.due and session._out is None


async def test_who_waits_goes_on_when_woken_before_or_meanwhile_and_also_after_a_wait_was_cancelled() -> None:
    wake = Wake()
    given_up = asyncio.ensure_future(wake.wait())
    await _wait(given_up)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    waiting = asyncio.ensure_future(wake.wait())
    await _wait(waiting)
    wake.set()
    wake.set()  # the waiter has not run yet
    wake.clear()
    async with asyncio.timeout(10):
        await waiting
    assert not wake.is_set()
    wake.set()
    async with asyncio.timeout(10):
        await wake.wait()
    assert wake.is_set()
