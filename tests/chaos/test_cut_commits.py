"""The connection to Postgres breaks before, in and after a commit, at chosen flushes and at random.

A submitter gets its job's id or the truth, and nothing is lost or doubled. HEADRACE_SEED (1) chooses the random cuts.
"""

import asyncio
import operator
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import grpc
import pytest
from headrace_broker.shards.flusher import UNKNOWN_AFTER_S
from headrace_client import Client, ResultUnknown, State, Submitted
from headrace_proto.v1 import admin_pb2, agents_pb2

from tests.support import submitter
from tests.support.pg_proxy import CUTS, Fate, PgProxy, Request, let_pass
from tests.support.processes import BrokerProcess, Process, start_agent, start_broker, until
from tests.support.verdict import drained, judge
from tests.support.wire import Wire

SEED = int(os.environ.get("HEADRACE_SEED", "1"))
RANDOM_CUTS = 30
Choose = Callable[[Request], bool]
PLAIN: Choose = operator.attrgetter("is_plain_flush")
KEYED: Choose = operator.attrgetter("is_keyed_flush")


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[PgProxy]:
    """Before the test's database."""
    async with PgProxy(database) as proxy:
        yield proxy


@pytest.fixture
async def broker(proxy: PgProxy, directory: Path, stack: AsyncExitStack, request: pytest.FixtureRequest) -> BrokerProcess:
    """A broker that reaches its database through the proxy, and was idle until it sent an empty flush. Its parameter: `ahead_rows`."""
    process = await start_broker(directory, database=proxy.dsn, ahead_rows=getattr(request, "param", 0))
    stack.push_async_callback(process.kill)

    async def idle() -> bool:
        return proxy.saw_a_flush

    await until(idle, what="an empty flush")
    return process


def once(fate: Fate, choose: Choose) -> Callable[[Request], Fate]:
    """`fate` for the next request that is chosen."""
    left = 1

    def decide(request: Request) -> Fate:
        nonlocal left
        if left and choose(request):
            left = 0
            return fate
        return Fate.PASS

    return decide


def cut_off(proxy: PgProxy, choose: Choose) -> Callable[[Request], Fate]:
    """The chosen request takes effect, its answer is thrown away, and the database stays away."""

    def decide(request: Request) -> Fate:
        if not choose(request):
            return Fate.PASS
        proxy.refusing = True
        return Fate.CUT_AFTER

    return decide


def _cut(proxy: PgProxy) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return proxy.cuts > 0

    return check


def _serving(broker: BrokerProcess) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return "serving" in broker.log.read_text()

    return check


@pytest.mark.parametrize("fate", CUTS)
async def test_a_submit_whose_flush_was_cut_gives_one_job_and_its_id(fate: Fate, proxy: PgProxy, client: Client, database: str) -> None:
    con = await asyncpg.connect(database)
    for number in range(3):
        proxy.fate = once(fate, PLAIN)
        plain = await client.submit("echo", f"plain {number}")
        proxy.fate = once(fate, KEYED)
        keyed = await client.submit("echo", f"keyed {number}", key=f"key {number}")
        again = await client.submit("echo", f"keyed {number}", key=f"key {number}")
        assert (again.job_id, again.existing) == (keyed.job_id, True)
        ids = {row["payload"].decode(): row["job_id"] for row in await con.fetch("select job_id, payload from headrace.job")}
        assert (ids[f'"plain {number}"'], ids[f'"keyed {number}"']) == (plain.job_id, keyed.job_id)
        assert await con.fetchval("select count(*) from headrace.job") == 2 * (number + 1) == (await client.count()).totals[State.WAITING]
    assert proxy.done[fate] == 6
    await con.close()


@pytest.mark.parametrize("fate", [Fate.CUT_BEFORE, Fate.CUT_AFTER])
async def test_the_connection_that_asks_whether_a_flush_landed_is_cut_too(fate: Fate, proxy: PgProxy, client: Client, database: str) -> None:
    con = await asyncpg.connect(database)
    for number in range(2):
        cut_flush = once((Fate.CUT_AFTER, Fate.CUT_LATE)[number], PLAIN)
        asked = 0

        def decide(request: Request, cut_flush: Callable[[Request], Fate] = cut_flush) -> Fate:
            nonlocal asked
            asked += request.asks_for_a_flush
            return fate if request.asks_for_a_flush and asked in (1, 3, 5) else cut_flush(request)

        proxy.fate = decide
        stored = await client.submit("echo", number)
        assert asked == 7, "each new connection asks for the last acknowledged flush, then for the one whose answer was lost; both kinds were cut"
        assert [row["job_id"] for row in await con.fetch("select job_id from headrace.job order by job_id")][number:] == [stored.job_id]
    await con.close()


@pytest.mark.parametrize("key", ["", "key"])
async def test_a_broker_that_lost_its_queue_with_the_answer_does_not_say_that_nothing_was_stored(
    key: str, proxy: PgProxy, broker: BrokerProcess, database: str, directory: Path, stack: AsyncExitStack
) -> None:
    """A job without a key would be submitted again, to the broker that took over, and be there twice."""
    standby = await start_broker(directory, database=database, name="standby")
    stack.push_async_callback(standby.kill)
    client = await stack.enter_async_context(Client(f"{broker.address},{standby.address}", timeout_s=20))
    con = await asyncpg.connect(database)

    proxy.fate = cut_off(proxy, KEYED if key else PLAIN)
    submit = asyncio.ensure_future(client.submit("echo", 1, key=key))
    await until(_serving(standby), what="the takeover")
    proxy.refusing, proxy.fate = False, let_pass
    if key:
        assert (await submit).existing
    else:
        with pytest.raises(ResultUnknown):
            await submit
    assert await con.fetchval("select count(*) from headrace.job") == 1
    await con.close()


async def test_a_late_outcome_survives_a_database_that_is_away_for_long(
    proxy: PgProxy, client: Client, agent: Process, broker: BrokerProcess, stack: AsyncExitStack
) -> None:
    """Its evidence is in a flush whose result nobody can tell for longer than callers are made to wait."""
    job = await client.wait((await client.submit("echo", 1)).job_id, timeout_s=20)
    wire = Wire(await stack.enter_async_context(grpc.aio.insecure_channel(broker.address)))
    outcome = agents_pb2.Outcome(job_id=job.job_id, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_FAILED)
    listed = await wire.call("Admin.ListAgents", admin_pb2.ListAgentsRequest())
    request = agents_pb2.ReportOutcomesRequest(incarnation_id=listed.agents[0].incarnation_id, outcomes=[outcome])
    proxy.fate = cut_off(proxy, PLAIN)
    report = asyncio.ensure_future(wire.call("Agents.ReportOutcomes", request, timeout_s=30))
    await until(_cut(proxy), what="the cut")
    ended = asyncio.ensure_future(broker.process.wait())
    await asyncio.wait([ended], timeout=UNKNOWN_AFTER_S + 0.5)
    assert not ended.done(), broker.log.read_text()[-2000:]
    ended.cancel()
    proxy.refusing, proxy.fate = False, let_pass
    assert [ack.disposition for ack in (await report).acks] == [agents_pb2.DISPOSITION_SUPERSEDED]
    assert "late_outcome" in [event.kind for event in await client.events(job.job_id)]


@pytest.mark.parametrize("fate", [Fate.STALL, Fate.STALL_ANSWER])
async def test_a_flush_that_stalls_for_a_while_is_waited_for(fate: Fate, proxy: PgProxy, client: Client, agent: Process, directory: Path) -> None:
    running = await client.submit("gate", "open")
    await until(_ran(directory, f"start {running.job_id} "), what="the start of a handler")
    proxy.fate = once(fate, PLAIN)
    submit = asyncio.ensure_future(client.submit("echo", 1))

    async def stalled() -> bool:
        return proxy.stalled > 0

    await until(stalled, what="the stall")
    (directory / "open").touch()
    await until(_ran(directory, f"end {running.job_id} "), what="the end of the handler")
    assert not submit.done()
    proxy.resume.set()
    for job_id in ((await submit).job_id, running.job_id):
        job = await client.wait(job_id, timeout_s=20)
        assert (job.state, job.lease_epoch) == (State.COMPLETED, 1)
    assert (await client.count()).totals == {State.COMPLETED: 2}


async def test_a_broker_whose_database_does_not_answer_is_left(proxy: PgProxy, broker: BrokerProcess, database: str, directory: Path, stack: AsyncExitStack) -> None:
    """Its connection hangs and never breaks. It says so, and submitters and agents go on at the one that took over; what was held back reaches no backend."""
    standby = await start_broker(directory, database=database, name="standby")
    stack.push_async_callback(standby.kill)
    both = f"{broker.address},{standby.address}"
    agent = await start_agent(directory, both)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(both, timeout_s=30))
    running = (await client.submit("gate", "open")).job_id
    await until(_ran(directory, f"start {running} "), what="the start of a handler")
    proxy.fate = lambda request: Fate.STALL
    plain, keyed = (asyncio.ensure_future(client.submit("echo", 1, key=key)) for key in ("", "key"))
    [told] = await asyncio.gather(plain, return_exceptions=True)
    stored = [told.job_id] if isinstance(told, Submitted) else []  # it waited behind the request that hangs, was refused, and went to the other broker
    assert stored or isinstance(told, ResultUnknown)
    for job_id in [(await keyed).job_id, *stored]:
        assert (await client.wait(job_id, timeout_s=20)).state is State.COMPLETED
    (directory / "open").touch()
    assert (await client.wait(running, timeout_s=20)).state is State.COMPLETED
    proxy.fate = let_pass
    proxy.resume.set()

    async def fenced() -> bool:
        return "standing by" in broker.log.read_text()

    await until(fenced, what="the old owner to stand by")
    assert (await client.count()).totals == {State.COMPLETED: 2 + len(stored)}


def _ran(directory: Path, line: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        ran = directory / "ran.txt"
        return ran.exists() and line in ran.read_text()

    return check


@pytest.mark.parametrize("broker", [0, 1], indirect=True)
async def test_random_cuts_under_load_lose_and_double_nothing(
    proxy: PgProxy, broker: BrokerProcess, database: str, directory: Path, stack: AsyncExitStack, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(SEED)
    con = await asyncpg.connect(database)
    agent = await start_agent(directory, broker.address, "--slots", "50", "--log-level", "warning")
    stack.push_async_callback(agent.kill)

    def decide(request: Request) -> Fate:
        chosen = chance.random() < (0.3 if request.asks_for_a_flush else 0.05 if request.is_flush else 0.0)
        return chance.choice(CUTS) if chosen else Fate.PASS

    proxy.fate = decide
    load = asyncio.ensure_future(submitter.main(broker.address, str(directory / "submitted.txt"), "run"))

    async def enough() -> bool:
        return proxy.cuts >= RANDOM_CUTS or load.done()

    await until(enough, timeout_s=60, what=f"{RANDOM_CUTS} cuts")
    proxy.fate = let_pass
    assert not load.done()
    load.cancel()
    await asyncio.wait([load])
    counts = await drained(broker.address)
    verdict = await judge(con, directory / "submitted.txt", directory / "ran.txt", {})
    print(f"\ncut commits: seed {SEED}, {', '.join(f'{proxy.done[fate]} {fate.value}' for fate in CUTS)}; {verdict}")
    record_property("jobs", verdict.jobs)
    assert counts == {"completed": verdict.jobs}
    assert not verdict.faults(), verdict.faults()
    await con.close()
