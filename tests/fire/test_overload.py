"""A broker that has more to do than it can: submits are refused early, all else goes on. The owner is driven step by step on a real ledger; calls come over gRPC."""

import asyncio
import gc
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.model.errors import Busy, NotOwner, SessionError
from headrace_broker.model.job import Disposition, State
from headrace_broker.rpc import admission, agents
from headrace_broker.rpc.interceptors import Guard
from headrace_broker.rpc.jobs import JobsService
from headrace_broker.rpc.submit import _Batch, full
from headrace_broker.shards import owner as owner_module
from headrace_broker.shards import pressure, reception
from headrace_broker.shards.intents import Completions, PlainJobs, Verb
from headrace_broker.shards.pressure import RETRY_S
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.pool import READ_FAILURES, open_pool
from headrace_broker.store.settings import OtherDomain, SettingsStore
from headrace_proto.v1 import agents_pb2, jobs_pb2, jobs_pb2_grpc, types_pb2
from headrace_proto.wire import to_seconds

from tests.fire.steps import begin
from tests.property.machine import TESTER, Machine
from tests.support.crews import Reporter, grants, join, submit
from tests.support.processes import pause
from tests.support.wire import refusal_of

FULL = 20
"""Jobs that may wait for their flush, in the tests with calls."""


def fill(machine: Machine, jobs: int, chunk: int = 1000) -> None:
    """Submits that wait for their flush."""
    for _ in range(jobs // chunk):
        machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"] * chunk), 2 * chunk)


async def test_beside_a_full_intake_outcomes_heartbeats_and_changes_are_decided_in_the_next_round(machine: Machine) -> None:
    [waiting] = await submit(machine, 1, entry=await machine.types.ensure("default", "other"))
    await submit(machine, 1500)
    agent = await join(machine)
    [running] = await grants(machine, agent, room=1500)
    fill(machine, owner_module.MAX_PENDING_JOBS)
    with pytest.raises(Busy) as refused:
        fill(machine, 1000)
    assert refused.value.retry_after_s >= RETRY_S
    done, left = running[:1200], running[1200:]
    leases = machine.owner.live_jobs
    machine.owner.end([Completions(done, [leases[job_id].seq for job_id in done], None, Reporter(machine, agent.agent_id))])
    reception.heartbeat(machine.owner, agent, 7, {job_id: leases[job_id].seq for job_id in left}, machine.now)
    abort = await begin(machine, Verb.ABORT, waiting)
    await machine.flush()
    while not abort.done():
        await asyncio.sleep(0)  # it is decided: only its caller has to run
        assert machine.owner.rounds < 10, "the change waited for a round of its own"
    assert abort.result()[0].error is None
    head = await machine.pool.fetchrow("select state from headrace.job_state where job_id = $1", waiting)
    assert head is not None and head["state"] == "aborted"
    assert machine.owner.counted[machine.type.type_id, State.PROCESSING, 0] == len(left)
    assert all(machine.owner.live_jobs[job_id].missed == 0 for job_id in left) and agent.renewed_at == machine.now
    await machine.flush()  # a heartbeat is confirmed by the first flush that began after it
    assert not agent.beats and agent.out.proven_no == 7


@pytest.mark.parametrize("room", [0, 10])
async def test_what_agents_can_do_now_goes_before_what_would_only_be_stored(machine: Machine, room: int) -> None:
    agent = await join(machine)
    await submit(machine, 3000)
    fill(machine, owner_module.MAX_PENDING_JOBS // 2, chunk=500)
    waiting = machine.owner.counted[machine.type.type_id, State.WAITING, 0]
    [granted] = await grants(machine, agent, room=room)
    stored = machine.owner.counted[machine.type.type_id, State.WAITING, 0] - waiting + len(granted)
    assert (len(granted), stored) == (room, 500 if room else 1000)


async def test_an_agent_with_room_costs_a_round_only_where_there_is_something_for_it(machine: Machine) -> None:
    nothing: Any = None
    service, owner, agent = agents.AgentsService(nothing, nothing, nothing, nothing), machine.owner, await join(machine)

    def wakes(room: int) -> bool:
        owner.wake.clear()
        service._hear(owner, agent, agents_pb2.ConnectRequest(number=1, credit=agents_pb2.Credit(free=room)))
        return owner.wake.is_set()

    await submit(machine, 1, entry=await machine.types.ensure("default", "other"))
    assert not wakes(5) and agent in owner.hungry
    await submit(machine, 1)
    assert wakes(5) and not wakes(0)
    assert len((await grants(machine, agent))[0]) == 1 and not wakes(5)
    await submit(machine, 1, limit_key="k")
    assert wakes(5)


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_domain_has_no_more_than_half_of_what_may_wait_whatever_it_submits(machine: Machine, monkeypatch: pytest.MonkeyPatch, keyed: bool) -> None:
    monkeypatch.setattr(owner_module, "MAX_PENDING_JOBS", 8)
    other, owner = await machine.types.ensure("other", "work"), machine.owner

    def put(entry: TypeEntry, key: str) -> None:
        job = (entry, 0, 0.0, b"{}")
        if keyed:
            owner.submit_keyed(job, entry.domain_id, key, b"h", 2)
        else:
            owner.submit([job], 2)

    async def store() -> None:
        while owner.has_intents:
            await machine.store_keyed()
            await machine.flush()

    for _ in range(2):  # what was stored leaves its room
        for number in range(4):
            put(machine.type, f"a{number}")
        with pytest.raises(Busy, match="4 submitted jobs of domain default"):
            put(machine.type, "b")
        for number in range(4):
            put(other, f"a{number}")
        await store()
    put(machine.type, "c")
    owner.refuse(NotOwner("gone"))
    owner.accept_work()
    for number in range(4):
        put(machine.type, f"d{number}")
    await store()


async def test_an_agent_that_sends_and_does_not_read_is_kept_within_bounds(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    service, owner, agent = agents.AgentsService(nothing, nothing, nothing, nothing), machine.owner, await join(machine)
    monkeypatch.setattr(agents, "MOST_UNREAD", 5000)
    job_ids, epochs = list(range(1, 2001)), [1] * 2000

    def beat() -> None:
        service._hear(owner, agent, agents_pb2.ConnectRequest(number=1, heartbeat=agents_pb2.Heartbeat(job_ids=job_ids, lease_epochs=epochs)))

    for _ in range(3):
        beat()
    with pytest.raises(SessionError, match="6000 answers wait"):
        beat()
    assert len(agent.out.not_held) == 6000 and len(agent.beats) == 1
    agent.take_out(machine.now)
    beat()
    for _ in range(2):
        agent.ack(job_ids, epochs, Disposition.UNKNOWN)  # as the owner says of outcomes, once it has looked
    with pytest.raises(SessionError, match="6000 answers wait"):
        beat()


async def test_an_agent_that_comes_back_is_known_without_asking_the_database(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "REMEMBERED", 2)
    pool = await open_pool(machine._dsn, size=1)
    known = agents._Known(SettingsStore(pool))

    async def find(number: int, owner: Any = machine.owner, domain: str = machine.domain) -> int:
        agent_id, _ = await known.find(owner, (domain, f"agent {number}", f"incarnation-{number:04}", "1"), "host", 1, "", {})
        return agent_id

    stored = [await find(number) for number in range(3)]
    assert len(set(stored)) == 3 and await machine.settings.agent_of(machine.domain, "incarnation-0001") == stored[1]
    with pytest.raises(OtherDomain):
        await find(2, domain="other")
    await pool.close()
    assert [await find(2), await find(1)] == [stored[2], stored[1]]
    with monkeypatch.context() as later:
        later.setattr(agents, "REMEMBERED_S", -1.0)
        with pytest.raises(READ_FAILURES):  # its life may have been forgotten
            await find(2)
    for unknown in (find(0), find(1, owner=object())):  # it was forgotten for others; another owner asks anew
        with pytest.raises(READ_FAILURES):
            await unknown


# Over gRPC ---------------------------------------------------------------------------------------------------------------------------------------


class Served:
    """The Jobs service of a machine's owner."""

    def __init__(self, machine: Machine, service: JobsService, ready: asyncio.Event, channel: grpc.aio.Channel) -> None:
        self.machine = machine
        self.service = service
        self.ready = ready
        self.channel = channel
        self.stub: Any = jobs_pb2_grpc.JobsStub(channel)  # type: ignore[no-untyped-call]

    def jobs_refused(self) -> int:
        """How many jobs were refused because the broker has too much to do."""
        [line] = [line for line in self.machine.owner.metrics.text().decode().splitlines() if line.startswith('headrace_submits_refused_total{reason="BUSY"}')]
        return int(float(line.split()[1]))

    async def answered(self, work: "asyncio.Future[Any]") -> Any:
        """The answer of a call, with the rounds that it takes."""
        async with asyncio.timeout(20):
            while not work.done():
                if self.machine.owner.has_intents:
                    await self.machine.flush()
                await pause()
        return work.result()


@pytest.fixture
async def served(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """With an intake of FULL jobs."""
    monkeypatch.setattr(owner_module, "MAX_PENDING_JOBS", FULL)
    ready = asyncio.Event()
    ready.set()
    ownership: Any = SimpleNamespace(owner=machine.owner, heads=machine.heads, ready=ready)
    nothing: Any = None
    service = JobsService(ownership, nothing, nothing, 1 << 20)
    guard = Guard(Metrics())
    guard.full = lambda: full([service])
    server = grpc.aio.server(interceptors=[guard])
    jobs_pb2_grpc.add_JobsServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(machine, service, ready, channel)
    await server.stop(0)


def column(count: int, number: int = 1, *, at_once: bool = True, type_: str = "work") -> jobs_pb2.SubmitStreamRequest:
    """A request of plain jobs."""
    return jobs_pb2.SubmitStreamRequest(request_no=number, plain=[types_pb2.PlainSpecs(type=type_, payloads=[b"{}"] * count)], refusal_at_once=at_once)


@pytest.fixture
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room to wait in."""
    monkeypatch.setattr(admission, "MAX_REQUESTS", 0)


async def test_a_refused_submit_carries_the_delay(served: Served) -> None:
    fill(served.machine, FULL, chunk=FULL)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.Submit(jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="work", payload=b"1")), timeout=10)
    refusal = refusal_of(refused.value)
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "BUSY")
    assert refusal.retry_after_s is not None and refusal.retry_after_s >= RETRY_S
    assert b'headrace_submits_refused_total{reason="BUSY"} 1.0' in served.machine.owner.metrics.text()


async def test_the_delay_grows_while_nothing_is_taken(served: Served) -> None:
    fill(served.machine, FULL, chunk=FULL)
    told = []
    for _ in range(3 * FULL):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.stub.Submit(jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="work", payload=b"1")), timeout=10)
        told.append(refusal_of(refused.value).retry_after_s or 0.0)
    assert told[-1] > 3 * told[0]


async def test_a_unary_submit_is_refused_unread_while_there_is_no_room(served: Served) -> None:
    """Not even its token is looked at: whatever it brings costs the same."""

    async def answer(method: str) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.channel.unary_unary(f"/headrace.v1.Jobs/{method}")(b"\xff\xff", timeout=10)
        refusal = refusal_of(refused.value)
        return refusal.code, refusal.reason

    busy, read = ("RESOURCE_EXHAUSTED", "BUSY"), ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert await answer("Submit") == read and await answer("SubmitMany") == read
    fill(served.machine, FULL, chunk=FULL)
    assert await answer("Submit") == busy and await answer("SubmitMany") == busy and await answer("GetJob") == read
    assert b'headrace_submits_refused_total{reason="BUSY"} 2.0' in served.machine.owner.metrics.text()
    served.ready.clear()  # another broker may have room: the call is passed on to it
    assert await answer("Submit") == read
    served.ready.set()
    while served.machine.owner.has_intents:
        await served.machine.flush()
    assert await answer("Submit") == read


@pytest.mark.usefixtures("nobody_waits")
async def test_a_stream_that_was_refused_is_not_read_before_its_turn(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "REFUSALS_PER_S", 1 / 3600)
    monkeypatch.setattr(pressure, "MOST_PAUSE_S", 3600.0)
    fill(served.machine, FULL, chunk=FULL)
    call = served.stub.SubmitStream()
    for number in range(1, 11):
        await call.write(column(5, number))
    assert (await call.read()).results.refused.reason == "BUSY"
    while served.machine.owner.has_intents:
        await served.machine.flush()
    other = served.stub.SubmitStream()
    for number in range(1, 11):  # one after the other: a stream that was not refused is read at once
        await other.write(column(5, number))
        assert all((await served.answered(asyncio.ensure_future(other.read()))).results.job_ids)
    assert served.jobs_refused() <= 10, "at most one more was read"
    call.cancel()
    other.cancel()


@pytest.mark.usefixtures("nobody_waits")
async def test_only_whole_requests_that_are_refused_for_want_of_room_hold_a_stream_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    held = 0

    def pause_s() -> float:
        nonlocal held
        held += 1
        return 0.0

    monkeypatch.setattr(served.machine.owner.pressure, "pause_s", pause_s)
    await served.machine.types.override(served.machine.type, {"depth_limit": 3}, [], caller=TESTER)
    call = served.stub.SubmitStream()

    async def answered(request: jobs_pb2.SubmitStreamRequest) -> tuple[int, int]:
        await call.write(request)
        results = (await served.answered(asyncio.ensure_future(call.read()))).results
        return sum(map(bool, results.job_ids)), held

    assert await answered(column(5)) == (3, 0)
    assert await answered(column(5, 2)) == (0, 1)
    assert await answered(column(5, 3, at_once=False)) == (0, 2)
    assert await answered(column(5, 4, type_="a b")) == (0, 2)
    assert await answered(column(5, 5, type_="other")) == (5, 2)
    other = await served.machine.types.ensure("default", "other")
    served.machine.owner.submit(PlainJobs(other, 0, [b"{}"] * FULL), 2 * FULL)
    await call.write(column(5, 6, type_="other"))
    assert (await call.read()).results.refused.reason == "BUSY" and held == 3
    call.cancel()


@pytest.mark.usefixtures("nobody_waits")
async def test_a_batch_is_refused_at_once_and_by_one_word_where_the_caller_understands_it(served: Served) -> None:
    fill(served.machine, FULL, chunk=FULL)
    call = served.stub.SubmitStream(iter([column(5), column(5, 2, at_once=False)]))
    first, second = await call.read(), await call.read()
    refused = first.results.refused
    assert (first.request_no, refused.reason) == (1, "BUSY") and to_seconds(refused.retry_after) >= RETRY_S
    assert not first.results.job_ids and not first.results.failures
    assert not second.results.HasField("refused") and len(second.results.job_ids) == 5
    [(reason, delay_s)] = {(failure.reason, to_seconds(failure.retry_after)) for failure in second.results.failures}
    assert reason == "BUSY" and delay_s > to_seconds(refused.retry_after)
    assert b'headrace_submits_refused_total{reason="BUSY"} 10.0' in served.machine.owner.metrics.text()
    call.cancel()


@pytest.mark.parametrize("room", [0, 1], ids=["at once", "after a wait"])
async def test_nothing_is_left_of_what_was_refused_without_the_collector(served: Served, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Else requests pile up until its next full pass, which holds up everybody: 150 MB of them within five seconds were measured."""
    monkeypatch.setattr(admission, "MAX_REQUESTS", room)
    monkeypatch.setattr(admission, "PATIENCE_S", 0.0)
    fill(served.machine, FULL, chunk=FULL)

    def batches() -> int:
        return sum(type(found) is _Batch for found in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = batches()
        call = served.stub.SubmitStream(iter([column(5, number) for number in range(1, 11)]))
        for _ in range(10):
            assert (await call.read()).results.refused.reason == "BUSY"
        async with asyncio.timeout(10):
            while batches() > before:
                await pause()
    finally:
        gc.enable()
    call.cancel()


async def test_who_submits_over_a_stream_waits_for_room_while_there_is_room_to_wait_in(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_REQUESTS", 1)
    monkeypatch.setattr(admission, "PATIENCE_S", 3600.0)
    fill(served.machine, FULL, chunk=FULL)
    call = served.stub.SubmitStream()
    await call.write(column(5))
    async with asyncio.timeout(10):
        while not served.service._lobby.requests:
            await pause()
    await call.write(column(6, 2))
    async with asyncio.timeout(20):
        refused = await call.read()
    assert refused.request_no == 2 and refused.results.refused.reason == "BUSY"
    stored = await served.answered(asyncio.ensure_future(call.read()))
    assert stored.request_no == 1 and len(stored.results.job_ids) == 5 and all(stored.results.job_ids)
    assert (served.service._lobby.requests, served.service._lobby.bytes) == (0, 0)
    call.cancel()


async def test_who_finds_the_room_taken_meanwhile_is_refused_where_nobody_else_may_wait(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """There was room for it when it came, before its type was made, and one that needs more has the only place to wait in."""
    monkeypatch.setattr(admission, "MAX_REQUESTS", 1)
    monkeypatch.setattr(admission, "PATIENCE_S", 3600.0)
    types, ensure = served.machine.owner.types, served.machine.owner.types.ensure

    async def meanwhile(domain: str, name: str) -> TypeEntry:
        fill(served.machine, 5, chunk=5)
        return await ensure(domain, name)

    fill(served.machine, FULL - 5, chunk=FULL - 5)
    call = served.stub.SubmitStream()
    await call.write(column(10))
    async with asyncio.timeout(20):
        while not served.service._lobby.requests:
            await pause()
        monkeypatch.setattr(types, "ensure", meanwhile)
        await call.write(column(5, 2, type_="new"))
        refused = await call.read()
    assert refused.request_no == 2 and refused.results.refused.reason == "BUSY"
    call.cancel()


async def test_a_wait_ends_and_one_that_is_cancelled_gives_its_place_back(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(served.machine, FULL, chunk=FULL)
    monkeypatch.setattr(admission, "PATIENCE_S", 0.0)
    call = served.stub.SubmitStream(iter([column(5)]))
    assert (await call.read()).results.refused.reason == "BUSY"
    monkeypatch.setattr(admission, "PATIENCE_S", 3600.0)
    leaving = served.stub.SubmitStream(iter([column(5), column(6, 2)]))
    async with asyncio.timeout(10):
        while served.service._lobby.requests < 2:
            await pause()
        assert served.service._lobby.bytes == column(5).ByteSize() + column(6, 2).ByteSize()
        leaving.cancel()
        while served.service._lobby.requests:
            await pause()
    assert served.service._lobby.bytes == 0
    call.cancel()


async def test_what_comes_alone_is_taken_however_large_it_is(served: Served) -> None:
    call = served.stub.SubmitStream(iter([column(FULL + 5)]))
    answer = await served.answered(asyncio.ensure_future(call.read()))
    assert len(answer.results.job_ids) == FULL + 5 and all(answer.results.job_ids)
    call.cancel()


async def test_a_broker_that_lost_the_queue_answers_what_comes_over_an_open_stream(served: Served) -> None:
    class Lost:
        @property
        def owner(self) -> Any:
            raise NotOwner("this broker does not own the queue")

    call = served.stub.SubmitStream()
    await call.write(column(2))
    assert all((await served.answered(asyncio.ensure_future(call.read()))).results.job_ids)
    lost: Any = Lost()
    served.service._ownership = lost
    await call.write(column(2, 2))
    await call.write(column(2, 3, at_once=False))
    async with asyncio.timeout(20):
        answers = {answer.request_no: answer.results for answer in (await call.read(), await call.read())}
    assert answers[2].refused.reason == "NOT_OWNER" and [failure.reason for failure in answers[3].failures] == ["NOT_OWNER"] * 2
    call.cancel()


async def test_unary_submits_are_refused_beyond_as_many_as_may_be_under_way(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_CALLS", 2)
    request = jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="work", payload=b"1"))
    async with asyncio.TaskGroup() as tasks:
        under_way = [tasks.create_task(_answer(served.stub.Submit(request, timeout=20))) for _ in range(2)]
        async with asyncio.timeout(10):
            while served.service._unary.count < 2:
                await pause()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.stub.Submit(request, timeout=20)
        assert (refusal_of(refused.value).reason, refusal_of(refused.value).retry_after_s) == ("BUSY", RETRY_S)
        nothing: Any = None
        with pytest.raises(Busy, match="2 calls that submit are under way"):  # as the callback of a batch, too
            await served.service.submit_one("default", request.job, nothing, callback=True)
        for task in under_way:
            assert (await served.answered(task)).job_id
    assert served.service._unary.count == 0


async def _answer(call: Any) -> Any:
    return await call


async def test_at_a_depth_limit_a_batch_is_refused_before_its_payloads_are_looked_at(served: Served) -> None:
    await served.machine.types.override(served.machine.type, {"depth_limit": 3}, [], caller=TESTER)
    late = column(5, 2)
    late.plain[0].payloads[0] = bytes((1 << 20) + 1)  # is too large, which nobody finds out
    call = served.stub.SubmitStream(iter([column(5), late]))
    answers = {}
    for _ in range(2):
        answer = await served.answered(asyncio.ensure_future(call.read()))
        answers[answer.request_no] = answer.results
    assert sum(map(bool, answers[1].job_ids)) == 3 and [failure.reason for failure in answers[1].failures] == ["QUEUE_FULL"] * 2
    assert answers[2].refused.reason == "QUEUE_FULL" and to_seconds(answers[2].refused.retry_after) == 1.0
    call.cancel()
