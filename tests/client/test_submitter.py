"""Submits over a stream that breaks: never a job twice, never a caller who waits for ever."""

import asyncio
from typing import Any

import grpc
import pytest
from headrace_client import Client, InvalidRequest, JobSpec, ResultUnknown, Submitted, Unavailable
from headrace_proto.v1 import jobs_pb2

from tests.support.scripted_broker import EndStream, payloads, refused, scripted_broker, stored


async def test_concurrent_submits_share_messages() -> None:
    gate = asyncio.Event()

    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        await gate.wait()
        return stored(request)

    async with scripted_broker(answer) as (address, service), Client(address) as client, asyncio.TaskGroup() as tasks:
        submits = [tasks.create_task(client.submit("t", number)) for number in range(3000)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait(submits)
    assert sum(len(payloads(request)) for request in service.received) == 3000
    assert len(service.received) <= 10


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"])
async def test_a_submit_without_key_is_not_sent_again_after_its_stream_broke(code: str) -> None:
    async def answer(_request: jobs_pb2.SubmitStreamRequest, context: Any) -> None:
        await context.abort(grpc.StatusCode[code], "gone", (("headrace-reason", "DATABASE_UNAVAILABLE"),) if code == "UNAVAILABLE" else ())

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=5) as client:
        with pytest.raises(ResultUnknown):
            await client.submit("t", 1)
        assert len(service.received) == 1


async def test_a_submit_with_key_is_sent_again_until_it_is_answered() -> None:
    failures = iter((True, True, False))

    async def answer(request: jobs_pb2.SubmitStreamRequest, context: Any) -> jobs_pb2.SubmitStreamResponse:
        if next(failures):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return stored(request, 7)

    async with scripted_broker(answer) as (address, service), Client(address) as client:
        assert (await client.submit("t", 1, key="k")).job_id == 7
        assert [request.jobs[0].idempotency_key for request in service.received] == ["k", "k", "k"]


async def test_a_stream_that_ends_well_with_a_request_unanswered_leaves_the_result_unknown() -> None:
    async def answer(_request: jobs_pb2.SubmitStreamRequest, _context: Any) -> None:
        raise EndStream

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=5) as client:
        with pytest.raises(ResultUnknown, match="ended the stream"):
            await client.submit("t", 1)
        assert len(service.received) == 1


async def test_what_the_broker_refused_without_storing_it_is_sent_again_and_nothing_else() -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        response = stored(request, 100 * request.request_no)
        if request.request_no == 1:
            failure = jobs_pb2.SubmitFailure(index=1, code=grpc.StatusCode.UNAVAILABLE.value[0], reason="DRAINING", message="drains")
            response.results.failures.append(failure)
        return response

    async with scripted_broker(answer) as (address, service), Client(address) as client, asyncio.TaskGroup() as tasks:
        submits = [tasks.create_task(client.submit("t", number)) for number in range(3)]
        results = [(await submit).job_id for submit in submits]
    assert results == [100, 200, 102]
    assert [payloads(request) for request in service.received] == [[b"0", b"1", b"2"], [b"1"]]


async def test_an_answer_that_makes_no_sense_ends_its_stream_and_not_the_client() -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        response = stored(request)
        if payloads(request) == [b"0"]:
            response.results.failures.append(jobs_pb2.SubmitFailure(index=7, code=grpc.StatusCode.UNAVAILABLE.value[0], reason="DRAINING"))
        return response

    async with scripted_broker(answer) as (address, _), Client(address) as client:
        async with asyncio.timeout(10):  # not after the time of a call
            with pytest.raises(ResultUnknown, match="cannot be read"):
                await client.submit("t", 0, timeout_s=60)
            assert (await client.submit("t", 1, timeout_s=60)).job_id == 1


@pytest.mark.parametrize("more", [1, -1])
async def test_an_answer_to_many_jobs_that_makes_no_sense_is_an_error_of_each(more: int) -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        response = stored(request)
        if len(payloads(request)) == 3:
            response.results.CopyFrom(jobs_pb2.SubmitResults(job_ids=range(1, 4 + more)))
        elif len(payloads(request)) == 2:
            response.results.failures.append(jobs_pb2.SubmitFailure(index=2, code=grpc.StatusCode.UNAVAILABLE.value[0], reason="DRAINING"))
        return response

    async with scripted_broker(answer) as (address, _), Client(address, timeout_s=20) as client:
        for count in (3, 2):
            results = await client.submit_many([JobSpec("t", number) for number in range(count)])
            assert all(isinstance(result, ResultUnknown) and "cannot be read" in result.message for result in results) and len(results) == count
        assert await client.submit_many([JobSpec("t", 1)]) == [Submitted(1)]


@pytest.mark.parametrize("key", ["", "key"])
async def test_submits_under_way_fail_when_the_client_is_closed(key: str) -> None:
    arrived = asyncio.Event()

    async def answer(_request: jobs_pb2.SubmitStreamRequest, _context: Any) -> None:
        arrived.set()

    async with scripted_broker(answer) as (address, _):
        client = Client(address)
        submit = asyncio.ensure_future(client.submit("t", 1, key=key))
        await arrived.wait()
        await client.close()
        with pytest.raises(ResultUnknown, match="may have been stored"):
            await submit


async def test_a_batch_whose_first_try_was_not_answered_is_not_said_to_have_stored_nothing() -> None:
    tries = iter([False])

    async def answer(request: jobs_pb2.SubmitStreamRequest, context: Any) -> jobs_pb2.SubmitStreamResponse:
        if payloads(request) == [b"0"]:
            return stored(request)
        if next(tries, True):
            return refused(request, "DATABASE_UNAVAILABLE")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        raise AssertionError

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=0.5) as client:
        await client.submit("t", 0, timeout_s=20)  # connected
        [result] = await client.submit_many([JobSpec("t", 1, key="key")])
        assert isinstance(result, ResultUnknown)
        assert len(service.received) > 2
        [result] = await client.submit_many([JobSpec("t", 1, key="key")])
        assert isinstance(result, Unavailable) and not isinstance(result, ResultUnknown)


async def test_a_batch_is_a_message_of_its_own_beside_single_submits() -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return stored(request, request.request_no * 1000)

    async with scripted_broker(answer) as (address, service), Client(address) as client, asyncio.TaskGroup() as tasks:
        single = [tasks.create_task(client.submit("t", number)) for number in range(3)]
        many = tasks.create_task(client.submit_many([JobSpec("a", 1), JobSpec("b", 2), JobSpec("a", 3), JobSpec("a", 4, key="k")]))
    assert [payloads(request) for request in service.received] == [[b"0", b"1", b"2"], [b"4", b"1", b"3", b"2"]]
    assert [task.result().job_id for task in single] == [1000, 1001, 1002]
    assert [result.job_id for result in many.result() if not isinstance(result, Exception)] == [2001, 2003, 2002, 2000]


@pytest.mark.parametrize("key", ["", "key"])
async def test_a_batch_whose_stream_broke_is_sent_again_when_all_of_it_has_keys(key: str) -> None:
    breaks = iter([True])

    async def answer(request: jobs_pb2.SubmitStreamRequest, context: Any) -> jobs_pb2.SubmitStreamResponse:
        if next(breaks, False):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return stored(request, 7)

    async with scripted_broker(answer) as (address, service), Client(address) as client:
        results = await client.submit_many([JobSpec("t", number, key=key and f"{key}-{number}") for number in range(2)])
    if key:
        assert [result.job_id for result in results if not isinstance(result, Exception)] == [7, 8]
    else:
        assert [type(result) for result in results] == [ResultUnknown, ResultUnknown]
        assert len(service.received) == 1


async def test_a_batch_that_one_broker_refuses_wholly_is_stored_by_another() -> None:
    async def refuse(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return refused(request, "DRAINING")

    async def store(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return stored(request, 5)

    async with scripted_broker(refuse) as (first, _), scripted_broker(store) as (second, _), Client(f"{first},{second}") as client:
        results = await client.submit_many([JobSpec("t", 1), JobSpec("t", 2)])
        assert [result.job_id for result in results if not isinstance(result, Exception)] == [5, 6]


async def test_a_batch_fails_in_time_and_says_that_it_may_be_stored_when_nobody_answers() -> None:
    async def answer(_request: jobs_pb2.SubmitStreamRequest, _context: Any) -> None:
        return None

    async with scripted_broker(answer) as (address, _), Client(address, timeout_s=0.2) as client:
        [result] = await client.submit_many([JobSpec("t", 1)])
        assert isinstance(result, ResultUnknown)


async def test_what_was_refused_is_not_sent_again_at_the_last_moment() -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse | None:
        if payloads(request) == [b"0"]:
            return stored(request)
        return refused(request, "DATABASE_UNAVAILABLE") if len(service.received) == 2 else None

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=0.25) as client:
        await client.submit("t", 0, timeout_s=20)  # connected
        with pytest.raises(Unavailable, match="not now") as error:
            await client.submit("t", 1)
        assert not isinstance(error.value, ResultUnknown), "it is known that nothing was stored"
        assert len(service.received) == 2


async def test_without_a_broker_a_submit_fails_in_time_and_says_where_it_looked() -> None:
    async with Client("127.0.0.1:1,127.0.0.1:2", timeout_s=0.5) as client:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1, 127\.0\.0\.1:2.*nothing was stored") as refused:
            await client.submit("t", 1)
        assert not isinstance(refused.value, ResultUnknown)
        [result] = await client.submit_many([JobSpec("t", 1)])
        assert isinstance(result, Unavailable) and "nothing was stored" in str(result)


async def test_the_next_broker_of_the_list_is_used_when_one_is_gone() -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return stored(request, 5)

    async with scripted_broker(answer) as (address, _), Client(f"127.0.0.1:1,{address}") as client:
        assert (await client.submit("t", 1)).job_id == 5


@pytest.mark.parametrize("large", [{"payload": bytes(17 << 20)}, {"labels": {"a": "x" * (17 << 20)}}], ids=["payload", "labels"])
async def test_a_message_that_is_too_large_fails_its_own_job_and_says_of_others_that_they_may_be_stored(large: dict[str, Any]) -> None:
    received = asyncio.Event()

    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse | None:
        if len(service.received) > 1:
            return stored(request, 7)  # what comes over the next stream
        received.set()
        return None

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=20) as client:
        others = [asyncio.ensure_future(client.submit("t", 1)), asyncio.ensure_future(client.submit("t", 2, key="k"))]
        await received.wait()
        with pytest.raises(InvalidRequest) as refused:
            await client.submit("t", **large)
        assert refused.value.reason == "TOO_LARGE"
        with pytest.raises(ResultUnknown, match="another message"):
            await others[0]
        assert (await others[1]).job_id == 7


async def test_large_labels_do_not_share_a_message_with_more_than_it_may_hold() -> None:
    async def answer(request: jobs_pb2.SubmitStreamRequest, _context: Any) -> jobs_pb2.SubmitStreamResponse:
        return stored(request)

    async with scripted_broker(answer) as (address, service), Client(address, timeout_s=20) as client:
        labels = {"a": "x" * (1 << 20)}
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(client.submit("t", number, labels=labels))
        results = await client.submit_many([JobSpec("t", number, labels=labels) for number in range(20)])
    assert all(isinstance(result, Submitted) for result in results)
    assert max(request.ByteSize() for request in service.received) < 4 << 20
