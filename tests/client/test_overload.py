"""A client whose broker has too much to do: it asks again after the delay that it was told, and not more often than its budget allows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from headrace_client import AdminClient, Busy, Client, JobSpec, QueueFull, Submitted, Unavailable
from headrace_client.retry import JITTER, RATIO, TOKENS, RetryBudget, pause_s
from headrace_proto.v1 import jobs_pb2
from headrace_proto.wire import to_duration

from tests.support.processes import pause
from tests.support.scripted_broker import payloads, scripted_broker, stored
from tests.support.served import served

CALLS = 60
FREE = TOKENS / 2
"""Refusals that are asked again at first."""


def busy(request: jobs_pb2.SubmitStreamRequest, retry_after_s: float, *, reason: str = "BUSY", at_once: bool = True) -> jobs_pb2.SubmitStreamResponse:
    """An answer that refuses everything, by one word or job by job."""
    count = len(payloads(request))
    failures = [jobs_pb2.SubmitFailure(index=index, code=8, reason=reason, message="too much to do", retry_after=to_duration(retry_after_s)) for index in range(count)]
    results = jobs_pb2.SubmitResults(refused=failures[0]) if at_once else jobs_pb2.SubmitResults(job_ids=[0] * count, failures=failures)
    return jobs_pb2.SubmitStreamResponse(request_no=request.request_no, results=results)


def test_the_budget_is_that_of_grpc() -> None:
    """gRFC A6: no retry while the tokens are at most half; a failure costs one, a success gives a share of one."""
    budget = RetryBudget()
    assert [budget.refused() for _ in range(6)] == [True] * 4 + [False] * 2
    for _ in range(20):
        budget.answered()
    assert not budget.refused(), "4 + 2 tokens, less one"
    for _ in range(1000):
        budget.answered()
    assert [budget.refused() for _ in range(5)] == [True] * 4 + [False], "there are never more than TOKENS"


def test_nobody_comes_back_sooner_than_told_nor_all_at_once() -> None:
    delays = [pause_s(2.0) for _ in range(1000)]
    assert min(delays) >= 2.0 and max(delays) <= 2.0 * (1 + JITTER) and max(delays) - min(delays) > 0.5


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_broker_that_refuses_everything_gets_few_messages_more_than_there_are_calls(at_once: bool) -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        assert request.refusal_at_once
        return busy(request, 0.001, at_once=at_once)

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=20) as client:
        for number in range(CALLS):
            with pytest.raises(Busy) as refused:
                await client.submit("t", number)
            assert refused.value.retry_after_s == 0.001
        for number in range(CALLS):
            results = await client.submit_many([JobSpec("t", number), JobSpec("t", -number)])
            assert [type(result) for result in results] == [Busy, Busy]
    assert 2 * CALLS < len(service.received) <= 2 * CALLS + FREE


async def test_over_a_long_time_a_client_sends_little_more_than_was_asked_for() -> None:
    seen = 0

    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        nonlocal seen
        seen += 1
        return stored(request) if seen % 5 == 0 else busy(request, 0.001)  # five times the capacity

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=20) as client:
        done = 0
        for number in range(300):
            try:
                await client.submit("t", number)
                done += 1
            except Busy:
                pass
    assert done > 300 / 6
    assert len(service.received) <= 300 * (1 + RATIO) + FREE


async def test_what_was_refused_for_a_moment_is_stored_after_the_delay_and_on_the_same_stream() -> None:
    at: list[float] = []
    streams = set()

    async def answer(request: jobs_pb2.SubmitStreamRequest, context: Any) -> jobs_pb2.SubmitStreamResponse:
        at.append(asyncio.get_running_loop().time())
        streams.add(id(context))
        return busy(request, 0.2) if len(at) == 1 else stored(request, 5)

    async with scripted_broker(answer) as (address, _), Client(address, timeout_s=20) as client:
        assert (await client.submit("t", 1)).job_id == 5
    assert at[1] - at[0] >= 0.2 and len(streams) == 1


async def test_another_broker_is_asked_where_there_is_one() -> None:
    async def refuse(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return busy(request, 0.001)

    async def store(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return stored(request, 9)

    async with scripted_broker(refuse) as (first, _), scripted_broker(store) as (second, _), Client(f"{first},{second}", timeout_s=20) as client:
        assert (await client.submit("t", 1)).job_id == 9


async def test_who_waits_for_room_waits_for_a_busy_broker_too() -> None:
    left = CALLS

    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        nonlocal left
        left -= 1
        return busy(request, 0.001, reason="BUSY" if left % 2 else "QUEUE_FULL") if left > 0 else stored(request, 3)

    async with scripted_broker(answer) as (address, _), Client(address, timeout_s=30) as client:
        with pytest.raises((Busy, QueueFull)):
            await client.submit("t", 1)
        assert (await client.submit("t", 1, wait_for_room=True)).job_id == 3
        left = CALLS
        [result] = await client.submit_many([JobSpec("t", 1)], wait_for_room=True)
        assert isinstance(result, Submitted)


async def test_a_client_that_is_closed_leaves_nobody_waiting_for_a_busy_broker() -> None:
    refused = asyncio.Event()

    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        refused.set()
        return busy(request, 60.0)

    async with scripted_broker(answer) as (address, _):
        client = Client(address, timeout_s=300)
        submit = asyncio.ensure_future(client.submit("t", 1))
        await refused.wait()
        async with asyncio.timeout(10):
            while client._submitter is None or not client._submitter._resting:
                await pause()
        await client.close()
        with pytest.raises(Unavailable, match="nothing was stored"):
            await submit


async def test_a_caller_whose_time_ends_before_the_delay_is_told_at_once() -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return busy(request, 3600.0)

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=1000) as client:
        with pytest.raises(Busy):
            await client.submit("t", 1)
        assert len(service.received) == 1


# Unary calls -------------------------------------------------------------------------------------------------------------------------------------


class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio ships no types
    """Refuses every call."""

    def __init__(self, reason: str, text: str) -> None:
        self.calls = 0
        self._metadata = (("headrace-reason", reason), ("headrace-retry-after-ms", "1")) if reason else ()
        self._text = text

    def service(self, _details: Any) -> Any:
        """For any method."""

        async def refuse(_request: bytes, context: Any) -> None:
            self.calls += 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, self._text, self._metadata)

        return grpc.unary_unary_rpc_method_handler(refuse)


@asynccontextmanager
async def refusing(reason: str, text: str = "too much to do") -> AsyncIterator[tuple[str, Refusing]]:
    """(address, handler) of such a broker."""
    handler = Refusing(reason, text)
    async with served(lambda server: server.add_generic_rpc_handlers((handler,))) as address:
        yield address, handler


@pytest.mark.parametrize(("reason", "text"), [("BUSY", "too much to do"), ("", "Too many pending requests for this server")], ids=["the broker", "its gRPC server"])
async def test_unary_calls_share_the_budget(reason: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_client.base.pause_s", lambda _: 0.001)
    monkeypatch.setattr("headrace_client.base.backoff_s", lambda _: 0.001)
    async with refusing(reason, text) as (address, handler), AdminClient(address, timeout_s=20) as admin:
        for _ in range(CALLS):
            with pytest.raises(Busy):
                await admin.list_types()
    assert CALLS < handler.calls <= CALLS + FREE


async def test_a_round_through_all_brokers_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one broker is restarted another one is asked at once, and whoever takes over is not met late."""
    counted: list[int] = []

    def noted(failures: int) -> float:
        counted.append(failures)
        return 0.001 if len(counted) < 6 else 1000.0

    monkeypatch.setattr("headrace_client.base.backoff_s", noted)
    monkeypatch.setattr("headrace_client.submitter.backoff_s", noted)
    async with refusing("DRAINING") as (one, first), refusing("DRAINING") as (two, second):
        async with AdminClient([one, two], timeout_s=20) as admin:
            with pytest.raises(Unavailable):
                await admin.list_types()
        assert (counted, first.calls, second.calls) == ([0, 0, 1, 1, 2, 2], 3, 3)
    counted.clear()
    async with Client(["127.0.0.1:1", "127.0.0.1:2"], timeout_s=60) as client, asyncio.timeout(60):
        submitting = asyncio.ensure_future(client.submit("t", 1))
        while len(counted) < 4:
            await pause()
        submitting.cancel()
    assert counted[:4] == [0, 1, 1, 2]
