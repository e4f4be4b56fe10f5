"""What an agent survives of its brokers: one that says nothing, one that ends every stream, and one that says what makes no sense. Jobs that run go on meanwhile."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from headrace_agent import Agent, JobContext, session
from headrace_agent.work import Work
from headrace_proto.v1 import agents_pb2

from tests.support.scripted_sessions import PATIENCE_S, ScriptedSessions, Starts, scripted_sessions

ACCEPTED = agents_pb2.DISPOSITION_ACCEPTED


@asynccontextmanager
async def working(*addresses: str) -> AsyncIterator[Starts]:
    it, agent = Starts(), Agent("scripted", slots=4)

    @agent.job("t")
    async def work(ctx: JobContext) -> None:
        it.started.append(ctx.job_id)
        try:
            await asyncio.Event().wait()
        finally:
            it.stopped.append(ctx.job_id)

    task = asyncio.create_task(agent.run(",".join(addresses), drain=it.drain, drain_timeout_s=0.0))
    try:
        yield it
        assert not task.done(), "it serves on"
    finally:
        it.drain.set()
        await asyncio.wait_for(task, 30)


@pytest.fixture
async def broker(stack: AsyncExitStack) -> tuple[str, ScriptedSessions]:
    address, service = await stack.enter_async_context(scripted_sessions())
    service.accepting = True
    return address, service


async def test_a_broker_that_takes_the_stream_and_says_nothing_is_left_for_another_try(
    broker: tuple[str, ScriptedSessions], stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "ANSWER_S", 0.2)
    caplog.set_level(logging.WARNING)
    (address, mute), (other_address, other) = broker, await stack.enter_async_context(scripted_sessions())
    mute.mute = True
    async with working(address, other_address) as it:
        await other.until(lambda: other.hellos, "the Hello at the other broker, which does not wait for this one")
        for _ in range(3):
            await asyncio.wait_for(mute.greeted.wait(), PATIENCE_S)
            mute.greeted.clear()
        assert f"no session with {address}: it took the stream, and has not answered within 0.2 s" in caplog.text
        monkeypatch.setattr(session, "ANSWER_S", 20.0)
        mute.mute = False
        await mute.until(lambda: mute.messages("credit"), "that the answer to the Hello was heard in time")
        mute.assign(8, 1, seen_no=1)
        await it.until_started(8)


async def test_a_broker_that_takes_over_and_says_nothing_more_does_not_keep_the_agent_from_the_other(
    broker: tuple[str, ScriptedSessions], stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old_address, old), (new_address, new) = broker, await stack.enter_async_context(scripted_sessions())
    new.stands_by = asyncio.Event()
    async with working(old_address, new_address) as it:
        await old.until(lambda: old.hellos, "the Hello")
        await asyncio.wait_for(new.greeted.wait(), PATIENCE_S)
        new.greeted.clear()
        new.mute = True
        monkeypatch.setattr(session, "ANSWER_S", 0.5)
        new.stands_by.set()
        await asyncio.wait_for(new.greeted.wait(), PATIENCE_S)
        new.stands_by = asyncio.Event()  # so does its next stream: one that took over again would have what the other one assigns refused
        monkeypatch.setattr(session, "ANSWER_S", 20.0)  # of the Hellos that follow
        await old.until(lambda: old.hellos == 2, "the other one is asked anew whether it owns the queue")
        old.assign(8, 1, seen_no=1)
        await it.until_started(8)


async def test_streams_that_end_at_once_are_begun_less_and_less_often(broker: tuple[str, ScriptedSessions], monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[int] = []

    def noted(number: int) -> float:
        failures.append(number)
        return 0.0

    monkeypatch.setattr(session, "backoff_s", noted)
    monkeypatch.setattr(session, "STEADY_S", 3600.0)  # a busy machine takes longer than a second for a stream now and then
    address, curt = broker
    curt.curt = True
    async with working(address):
        await curt.until(lambda: curt.hellos > 5, "the Hellos")
        assert failures[:5] == [1, 2, 3, 4, 5]


def short_column() -> dict[str, Any]:
    assign = agents_pb2.Assign(number=9)
    assign.plain.add(type="t", timeout_ms=60_000, max_attempts=5, job_ids=[1, 3], lease_epochs=[1], payloads=[b"", b""])
    return {"assign": assign}


ODD: dict[str, Callable[[], dict[str, Any]]] = {
    "a column that is too short": short_column,
    "answers without leases": lambda: {"acked": [agents_pb2.AckedOutcomes(disposition=ACCEPTED, job_ids=[8, 10], lease_epochs=[1])]},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=list(ODD))
async def test_what_makes_no_sense_ends_the_stream_and_no_job(
    broker: tuple[str, ScriptedSessions], caplog: pytest.LogCaptureFixture, odd: Callable[[], dict[str, Any]]
) -> None:
    address, odd_one = broker
    async with working(address) as it:
        await odd_one.until(lambda: odd_one.hellos, "the Hello")
        odd_one.assign(8, 1, seen_no=1)
        await it.until_started(8)
        odd_one.say(**odd())
        await odd_one.until(lambda: odd_one.hellos == 2, "the next stream")
        assert [(ref.job_id, ref.lease_epoch) for ref in odd_one.messages("hello")[-1].held] == [(8, 1)]
        assert it.stopped == [] and f"no session with {address}: it says what cannot be understood (ValueError" in caplog.text


@pytest.mark.parametrize(("lease_s", "heartbeat_s"), [(0, 0.0), (3, 0.0), (3, 4.0), (-3, -1.0)])
async def test_leases_that_cannot_be_are_not_believed(broker: tuple[str, ScriptedSessions], caplog: pytest.LogCaptureFixture, lease_s: int, heartbeat_s: float) -> None:
    address, odd_one = broker
    odd_one.lease_s, odd_one.heartbeat_s = lease_s, heartbeat_s
    async with working(address):
        await odd_one.until(lambda: odd_one.hellos > 2, "more Hellos")
        assert f"it gives leases of {lease_s} s and wants a heartbeat every {heartbeat_s:g} s" in caplog.text
        odd_one.lease_s, odd_one.heartbeat_s = 3, 1.0
        await odd_one.until(lambda: odd_one.messages("heartbeat"), "the first heartbeat")


async def test_a_job_that_is_assigned_twice_runs_once_and_takes_one_slot(broker: tuple[str, ScriptedSessions]) -> None:
    address, twice = broker
    async with working(address) as it:
        await twice.until(lambda: twice.hellos, "the Hello")
        twice.assign(8, 1, seen_no=1)
        twice.assign(8, 1, seen_no=1)
        twice.assign(10, 1, seen_no=1)
        await it.until_started(8, 10)
        await twice.until(lambda: any(credit.assign_no == 3 for credit in twice.messages("credit")), "the credit after them")
        assert twice.messages("credit")[-1].free == 2


async def test_an_answer_to_an_outcome_that_there_is_not_leaves_the_job_under_its_lease(broker: tuple[str, ScriptedSessions]) -> None:
    address, odd_one = broker
    async with working(address) as it:
        await odd_one.until(lambda: odd_one.hellos, "the Hello")
        odd_one.assign(8, 1, seen_no=1)
        await it.until_started(8)
        odd_one.answer(8, 1, ACCEPTED)
        await odd_one.until(lambda: odd_one.messages("heartbeat"), "a heartbeat")
        assert list(odd_one.messages("heartbeat")[-1].job_ids) == [8]


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 50])
async def test_an_agent_that_is_cancelled_at_once_ends_at_once(turns: int) -> None:
    """After so many turns of the event loop: before, while and after its work thread is started."""
    agent = Agent("cancelled")

    @agent.job("t")
    async def work(_ctx: JobContext) -> None:
        pass

    running = asyncio.create_task(agent.run("127.0.0.1:1"))
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, PATIENCE_S)


def test_work_that_was_closed_before_it_was_started_does_not_start() -> None:
    work = Work({}, middleware=[], lifespans=[], threads=1, reports=None, client_options={})  # type: ignore[arg-type]  # it reports nothing
    work.close()
    work.start()
    assert not work._thread.is_alive()


async def test_a_broker_cannot_send_an_agent_away_for_years(broker: tuple[str, ScriptedSessions], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_AWAY_S", 0.1)
    address, odd_one = broker
    async with working(address):
        for number in range(1, 4):
            await odd_one.until(functools.partial(lambda number: odd_one.hellos == number, number), "a Hello")
            odd_one.say(go_away=agents_pb2.GoAway(reason="go", reconnect_after=Duration(seconds=(-(10**9), 10**9, 0)[number - 1])))
