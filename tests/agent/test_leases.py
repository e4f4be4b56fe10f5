"""What an agent makes of its leases, against a broker that says what the test wants: it counts them from its own sending, stops in time, and keeps its outcomes."""

import asyncio
import functools
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from headrace_agent import Agent, JobContext, leases, session
from headrace_proto.v1 import agents_pb2, agents_pb2_grpc

from tests.support.ports import free_ports
from tests.support.processes import until
from tests.support.scripted_sessions import LEASE_S, PATIENCE_S, ScriptedSessions, Starts, scripted_sessions

ACCEPTED, SUPERSEDED, NOT_OWNER = agents_pb2.DISPOSITION_ACCEPTED, agents_pb2.DISPOSITION_SUPERSEDED, agents_pb2.DISPOSITION_NOT_OWNER


class Running:
    """An agent in this process, and the broker that it knows."""

    def __init__(self, broker: ScriptedSessions) -> None:
        self.broker = broker
        self.started: dict[int, float] = {}  # job -> the monotonic clock
        self.stopped: dict[int, float] = {}
        self.may_end = False
        self.drain = asyncio.Event()

    async def first(self) -> float:
        """When the Hello came: its sending was a moment before."""
        await self.broker.until(lambda: self.broker.hellos, "the Hello")
        return next(at for at, message in self.broker.received if message.HasField("hello"))

    async def end(self, job_id: int) -> float:
        """Waits until the handler of a job has stopped; when."""

        async def stopped() -> float | None:
            return self.stopped.get(job_id)

        return float(await until(stopped, what=f"the end of job {job_id}"))


@pytest.fixture
async def running(stack: AsyncExitStack) -> AsyncIterator[Running]:
    address, broker = await stack.enter_async_context(scripted_sessions())
    it = Running(broker)
    agent = Agent("scripted", slots=4)

    @agent.job("t")
    async def work(ctx: JobContext) -> Any:
        loop = asyncio.get_running_loop()
        it.started[ctx.job_id] = loop.time()
        try:
            while not it.may_end:
                await asyncio.sleep(0.01)
            return ctx.job_id
        finally:
            it.stopped[ctx.job_id] = loop.time()

    task = asyncio.create_task(agent.run(address, drain=it.drain, drain_timeout_s=0.1))
    yield it
    broker.accepting = True
    it.drain.set()
    for job_id in it.started:
        for epoch in (1, 3):
            broker.answer(job_id, epoch, ACCEPTED)
    await asyncio.wait_for(task, 20)


async def test_a_broker_that_falls_silent_is_greeted_anew_although_its_stream_stays_open(running: Running) -> None:
    broker = running.broker
    broker.silent = True
    await broker.until(lambda: broker.hellos > 1, "another Hello")


async def test_a_lease_counts_from_the_agents_own_sending_however_late_the_assign_comes(running: Running) -> None:
    broker, began = running.broker, await running.first()
    await broker.until(lambda: broker.messages("heartbeat"), "the first heartbeat, about a second later")
    broker.assign(7, 1, seen_no=1)
    ended = await running.end(7)
    assert running.started[7] - began > 0.8
    assert LEASE_S - 0.7 < ended - began < LEASE_S, "stopped before the lease has ended elsewhere"
    assert broker.messages("outcomes") == [], "nothing is reported of a lease that is over"


async def test_an_assign_that_lay_in_a_buffer_past_its_lease_starts_nothing(running: Running) -> None:
    broker, began = running.broker, await running.first()
    await broker.until(lambda: broker.received[-1][0] - began > LEASE_S, "a message after the end of the lease")
    broker.assign(7, 1, seen_no=1)
    await broker.until(lambda: any(accept.rejected for accept in broker.messages("accept")), "the rejection")
    [rejected] = [rejection for accept in broker.messages("accept") for rejection in accept.rejected]
    assert (rejected.lease.job_id, rejected.lease.lease_epoch) == (7, 1) and "lease was over" in rejected.reason
    newest = broker.received[-1][1].number
    broker.assign(8, 1, seen_no=newest)
    await broker.until(lambda: broker.messages("accept")[-1].assign_no == 2, "the accept of a fresh one")
    running.may_end = True
    await running.end(8)
    assert 7 not in running.started


async def test_an_agent_without_leases_says_less_often_that_it_is_there_and_at_once_when_a_job_comes(stack: AsyncExitStack) -> None:
    address, broker = await stack.enter_async_context(scripted_sessions())
    broker.heartbeat_s, drain, go = LEASE_S / 20, asyncio.Event(), asyncio.Event()
    agent = Agent("idle", slots=1)

    @agent.job("t")
    async def work(ctx: JobContext) -> None:
        await go.wait()

    task = asyncio.create_task(agent.run(address, drain=drain, drain_timeout_s=0.1))
    await broker.until(lambda: broker.messages("heartbeat"), "a heartbeat")
    times = [at for at, message in broker.received if message.HasField("hello") or message.HasField("heartbeat")]
    assert times[1] - times[0] > LEASE_S / 4
    broker.assign(7, 1, seen_no=1)
    await broker.until(lambda: broker.messages("accept"), "the accept")
    [accepting] = [message for _, message in broker.received if message.HasField("accept")]
    assert list(accepting.heartbeat.job_ids) == [7], "its lease counts from long ago"
    beats = len(broker.messages("heartbeat"))
    broker.confirm(accepting.number)
    await broker.until(lambda: len(broker.messages("heartbeat")) > beats + 1, "more heartbeats")
    times = [at for at, message in broker.received if message.HasField("heartbeat")][-3:]
    assert min(later - at for at, later in itertools.pairwise(times)) < LEASE_S / 4, "it has a lease now"
    go.set()
    broker.answer(7, 1, ACCEPTED)
    drain.set()
    await asyncio.wait_for(task, 20)


async def test_a_confirmed_heartbeat_keeps_the_lease_and_an_old_confirmation_does_not(running: Running) -> None:
    broker, began = running.broker, await running.first()
    broker.confirming = True
    broker.assign(7, 1, seen_no=1)
    await broker.until(lambda: broker.received[-1][0] - began > LEASE_S + 0.5, "a message after the end of the first lease")
    assert 7 not in running.stopped
    broker.confirming = False
    sent = [(at, message.number) for at, message in broker.received if message.HasField("heartbeat")]
    last_at, last_no = sent[-1]
    while 7 not in running.stopped:
        for number in (1, sent[0][1], last_no):  # again and again: none is newer than what was confirmed
            broker.confirm(number)
        seen = len(broker.received)
        await broker.until(functools.partial(lambda seen: len(broker.received) > seen or 7 in running.stopped, seen), "the next message")
    assert running.stopped[7] - last_at < LEASE_S


async def test_a_time_in_which_the_machine_was_suspended_counts_for_leases(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of event loops stands still then, and that of the brokers goes on."""
    broker, _ = running.broker, await running.first()
    broker.assign(7, 1, seen_no=1)
    await broker.until(lambda: broker.messages("accept"), "the accept")
    before, awake = broker.received[-1][1].number, leases.clock_s
    monkeypatch.setattr(leases, "clock_s", lambda: awake() + LEASE_S)
    resumed = asyncio.get_running_loop().time()
    ended = await running.end(7)
    assert ended - resumed < LEASE_S - 1, "at once, and not when as much time has passed since it runs again"
    broker.assign(8, 1, seen_no=before)  # it was on its way all the time
    await broker.until(lambda: any(accept.rejected for accept in broker.messages("accept")), "the rejection")
    assert 8 not in running.started
    assert broker.messages("outcomes") == []


def test_leases_are_counted_on_a_clock_that_goes_on_while_the_machine_is_suspended() -> None:
    assert abs(time.clock_gettime(time.CLOCK_BOOTTIME) - leases.clock_s()) < 5


async def test_an_outcome_is_sent_again_until_its_fate_is_final(running: Running) -> None:
    broker = running.broker
    await running.first()
    broker.confirming = True
    running.may_end = True
    broker.assign(7, 1, seen_no=1)
    await broker.until(lambda: len(broker.messages("outcomes")) == 1, "the outcome")
    broker.answer(7, 1, NOT_OWNER)
    await broker.until(lambda: len(broker.messages("outcomes")) == 2, "the outcome again: the broker could not tell")
    broker.end()
    await broker.until(lambda: broker.hellos == 2 and len(broker.messages("outcomes")) == 3, "the outcome on the next stream")
    assert [(ref.job_id, ref.lease_epoch) for ref in broker.messages("hello")[-1].held] == [(7, 1)], "it is the agent's until its outcome is acknowledged"
    beats = len(broker.messages("heartbeat"))
    await broker.until(lambda: len(broker.messages("heartbeat")) > beats, "a heartbeat")
    assert list(broker.messages("heartbeat")[-1].job_ids) == [7]
    broker.answer(7, 1, SUPERSEDED)
    beats = len(broker.messages("heartbeat"))
    await broker.until(lambda: len(broker.messages("heartbeat")) > beats + 1, "another heartbeat")
    assert list(broker.messages("heartbeat")[-1].job_ids) == [] and len(broker.messages("outcomes")) == 3


async def test_a_lease_that_is_taken_back_again_and_again_is_lost_once(stack: AsyncExitStack) -> None:
    """As by a broker that cannot end the attempt yet, since a transaction may complete the job."""
    address, broker = await stack.enter_async_context(scripted_sessions())
    agent, drain, may_end = Agent("scripted", slots=4), asyncio.Event(), threading.Event()

    @agent.job("t")
    def blocked(_ctx: JobContext) -> None:
        may_end.wait(PATIENCE_S)

    task = asyncio.create_task(agent.run(address, drain=drain, drain_timeout_s=0.1))
    await broker.until(lambda: broker.hellos, "the Hello")
    broker.assign(7, 1, seen_no=1)
    for _ in range(3):
        broker.say(revoked=[agents_pb2.LeaseRef(job_id=7, lease_epoch=1)])
    broker.assign(8, 1, seen_no=1)
    await broker.until(lambda: any(accept.assign_no == 2 for accept in broker.messages("accept")), "what came after that")
    lost = agent.metrics.registry.get_sample_value("headrace_agent_leases_lost_total")
    may_end.set()
    drain.set()
    broker.answer(8, 1, ACCEPTED)
    await asyncio.wait_for(task, 20)
    assert lost == 1


async def test_what_the_broker_takes_back_is_stopped_and_not_reported(running: Running) -> None:
    broker = running.broker
    await running.first()
    broker.confirming = True
    for job_id in (7, 8, 9):
        broker.assign(job_id, 1, seen_no=1)

    async def started() -> bool:
        return running.started.keys() == {7, 8, 9}

    await until(started, what="the starts")
    broker.say(revoked=[agents_pb2.LeaseRef(job_id=7, lease_epoch=1), agents_pb2.LeaseRef(job_id=9, lease_epoch=5)])
    broker.say(heartbeat_ack=agents_pb2.HeartbeatAck(not_held=[agents_pb2.LeaseRef(job_id=8, lease_epoch=1)]))
    await running.end(7)
    await running.end(8)
    assert 9 not in running.stopped, "another lease of the job was meant"
    running.may_end = True
    await broker.until(lambda: broker.messages("outcomes"), "the outcome of the one that is left")
    assert [outcome.job_id for outcome in broker.messages("outcomes")] == [9]


async def test_an_agent_that_drains_takes_no_more(running: Running) -> None:
    broker = running.broker
    await running.first()
    broker.confirming = True
    broker.assign(7, 1, seen_no=1)
    await broker.until(lambda: broker.messages("accept"), "the accept")
    running.drain.set()
    await broker.until(lambda: any(message.draining for _, message in broker.received), "the word that it drains")
    assert broker.messages("credit")[-1].free == 0
    broker.assign(8, 1, seen_no=1)
    await broker.until(lambda: any(accept.rejected for accept in broker.messages("accept")), "the rejection")
    await broker.until(lambda: [outcome.job_id for outcome in broker.messages("outcomes")] == [7], "the job that it gives back")
    assert 8 not in running.started and broker.messages("outcomes")[0].kind == agents_pb2.OUTCOME_KIND_RELEASED


async def test_that_a_job_arrived_is_said_with_its_outcome_when_that_comes_soon(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ACCEPT_S", 5.0)  # soon, on any machine
    broker, _ = running.broker, await running.first()
    running.may_end = True
    broker.assign(7, 1, seen_no=1)
    await broker.until(lambda: broker.messages("outcomes"), "the outcome")
    [with_accept] = [message for _, message in broker.received if message.HasField("accept")]
    assert with_accept.accept.assign_no == 1 and [outcome.job_id for outcome in with_accept.outcomes] == [7]
    assert (with_accept.credit.assign_no, with_accept.credit.free) == (1, 4)


async def test_that_a_job_arrived_is_said_soon_when_its_handler_goes_on(running: Running) -> None:
    broker, _ = running.broker, await running.first()
    broker.assign(7, 1, seen_no=1)
    await broker.until(lambda: broker.messages("accept"), "the accept")
    [with_accept] = [message for _, message in broker.received if message.HasField("accept")]
    assert (with_accept.credit.assign_no, with_accept.credit.free) == (1, 3)
    assert not any(message.HasField("heartbeat") for _, message in broker.received), "it did not wait for a heartbeat"


class Two(Starts):
    """An agent that has a stream to each of two brokers."""

    def __init__(self, old: ScriptedSessions, new: ScriptedSessions) -> None:
        super().__init__()
        self.old = old
        self.new = new


@pytest.fixture
async def two(stack: AsyncExitStack, request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    """The old one owns the queue; the new one stands by. With the parameter False it does not say so, and leaves the Hello without an answer."""
    (old_address, old), (new_address, new) = [await stack.enter_async_context(scripted_sessions()) for _ in range(2)]
    new.stands_by, new.says_so = asyncio.Event(), getattr(request, "param", True)
    it, agent = Two(old, new), Agent("scripted", slots=4)

    @agent.job("t")
    async def work(ctx: JobContext) -> None:
        it.started.append(ctx.job_id)
        try:
            await asyncio.Event().wait()
        finally:
            it.stopped.append(ctx.job_id)

    task = asyncio.create_task(agent.run(f"{old_address},{new_address}", drain=it.drain, drain_timeout_s=0.1))
    await old.until(lambda: old.hellos, "the Hello")
    yield it
    new.stands_by.set()
    old.accepting = new.accepting = True
    it.drain.set()
    for broker in (old, new):
        for job_id in it.started:
            broker.answer(job_id, 1, ACCEPTED)
    await asyncio.wait_for(task, 30)


async def test_what_a_former_owner_still_assigns_is_not_started_once_another_broker_took_over(two: Two) -> None:
    old, new = two.old, two.new
    old.assign(7, 1, seen_no=1)
    await old.until(lambda: old.messages("accept"), "the accept")
    assert new.stands_by is not None
    new.stands_by.set()
    await new.until(lambda: new.hellos, "the Hello of the takeover")
    assert [(ref.job_id, ref.lease_epoch) for ref in new.messages("hello")[0].held] == [(7, 1)] and new.received[0][1].number == 2
    newest = old.received[-1][1].number
    old.assign(8, 1, seen_no=newest)  # it lay in a buffer
    new.assign(9, 1, seen_no=2)
    await old.until(lambda: any(accept.rejected for accept in old.messages("accept")), "the rejection")
    await two.until_started(7, 9)  # the new owner grants job 8 to somebody, since the Hello did not name it


@pytest.mark.parametrize("two", [False], indirect=True)
async def test_an_owner_that_asks_again_hears_what_a_former_one_assigned_while_the_hello_was_under_way(two: Two) -> None:
    old, new = two.old, two.new
    await asyncio.wait_for(new.greeted.wait(), PATIENCE_S)  # by a first Hello, which names nothing
    old.assign(7, 1, seen_no=1)
    await two.until_started(7)
    assert new.stands_by is not None
    new.welcoming.clear()
    new.stands_by.set()
    await new.until(lambda: new.hellos, "the second Hello")
    assert [(ref.job_id, ref.lease_epoch) for ref in new.messages("hello")[0].held] == [(7, 1)]
    old.assign(8, 1, seen_no=old.received[-1][1].number)
    await old.until(lambda: any(accept.rejected for accept in old.messages("accept")), "the rejection")
    new.welcoming.set()
    new.assign(9, 1, seen_no=2)
    await two.until_started(7, 9)
    assert two.stopped == []


async def test_a_broker_that_was_wrong_about_owning_the_queue_is_not_believed_beyond_its_stream(two: Two) -> None:
    old, new = two.old, two.new
    assert new.stands_by is not None
    new.stands_by.set()
    await new.until(lambda: new.hellos, "the Hello of the takeover")
    new.stands_by = asyncio.Event()
    new.end()
    await old.until(lambda: old.hellos == 2, "another Hello: which of them owns the queue is to be found out")
    old.assign(7, 1, seen_no=1)
    await two.until_started(7)


class Turned:
    """Notes for how many failures in a row the agent pauses, and lets it pause no longer than a moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures: list[int] = []
        monkeypatch.setattr(session, "backoff_s", self._pause_s)

    def _pause_s(self, failures: int) -> float:
        self.failures.append(failures)
        return 0.001


async def until_true(check: Callable[[], object], what: str) -> None:
    """Waits for what no message tells."""

    async def is_true() -> bool:
        return bool(check())

    await until(is_true, what=what)


def idle_agent() -> Agent:
    """Serves something."""
    agent = Agent("scripted")

    @agent.job("t")
    async def work(_ctx: JobContext) -> None:
        pass

    return agent


class Unwilling(agents_pb2_grpc.AgentsServicer):
    """Ends every stream in good order before it says Welcome; `says`: with a GoAway."""

    def __init__(self, *, says: bool) -> None:
        self._says = says

    async def Connect(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await anext(aiter(requests))
        if self._says:
            yield agents_pb2.ConnectResponse(go_away=agents_pb2.GoAway(reason="not now", reconnect_after=Duration(nanos=1000)))


@pytest.mark.parametrize("says", [True, False])
async def test_an_agent_that_is_never_greeted_comes_back_less_and_less_often(says: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    turned, drain = Turned(monkeypatch), asyncio.Event()
    server = grpc.aio.server()
    agents_pb2_grpc.add_AgentsServicer_to_server(Unwilling(says=says), server)  # type: ignore[no-untyped-call]  # generated
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(idle_agent().run(f"127.0.0.1:{port}", drain=drain))
            await until_true(lambda: len(turned.failures) >= 5, "some streams")
            drain.set()
    finally:
        await server.stop(0)
    assert turned.failures[:5] == [1, 2, 3, 4, 5]


async def test_failures_before_a_stream_that_lasted_are_forgotten(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    turned, drain = Turned(monkeypatch), asyncio.Event()
    monkeypatch.setattr(session, "STEADY_S", 0.0)
    address, broker = await stack.enter_async_context(scripted_sessions())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(idle_agent().run(address, drain=drain))
        for times in range(1, 4):
            await broker.until(functools.partial(lambda times: broker.hellos == times, times), "the Hello")
            broker.fail()
        await broker.until(lambda: broker.hellos == 4, "the last one")
        drain.set()
    assert turned.failures == [1, 1, 1]


async def test_a_broker_that_stays_away_is_told_of_from_time_to_time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    turned, drain = Turned(monkeypatch), asyncio.Event()
    monkeypatch.setattr(session, "REMIND", 10)
    [port] = free_ports(1)
    with caplog.at_level(logging.WARNING, "headrace.session"):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(idle_agent().run(f"127.0.0.1:{port}", drain=drain))
            await until_true(lambda: len(turned.failures) >= 12, "some failures")
            drain.set()
    told = [record for record in caplog.records if "no session with" in record.message]
    assert len(told) == 3 + len(turned.failures) // 10
