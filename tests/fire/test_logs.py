"""Logs under limits, and followed while they are written: nothing beyond the limits is kept, nothing within them is lost, missed or doubled, whoever dies meanwhile."""

import asyncio
import gc
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_broker.metrics import Metrics
from headrace_broker.store import logs as logs_module
from headrace_broker.store.log_limits import LogBatch
from headrace_broker.store.logs import LogWriter
from headrace_client import AdminClient, Client, NotFound
from headrace_client.models import LogLine
from headrace_proto.v1 import agents_pb2, jobs_pb2

from tests.fire.conftest import Connect
from tests.fire.steps import granted
from tests.property.machine import Machine
from tests.support.ports import free_ports
from tests.support.processes import BrokerProcess, pause, start_broker, until
from tests.support.scripted_agent import ScriptedAgent, lease, outcome


def batch(job: agents_pb2.AssignedJob, numbers: Iterable[int], *, text: str = "", level: int = 2) -> agents_pb2.LogBatch:
    """Lines with these numbers."""
    lines = [jobs_pb2.LogLine(line_no=n, at=Timestamp(seconds=n), level=level, text=text or f"line {n}") for n in numbers]  # type: ignore[arg-type]  # enum numbers
    return agents_pb2.LogBatch(lease=lease(job), lines=lines)


async def texts(client: Client, job_id: int) -> list[str]:
    return [line.text async for line in client.logs(job_id)]


async def numbers(client: Client, job_id: int) -> list[int]:
    return [line.line_no async for line in client.logs(job_id)]


def mark(count: int, lines: int, size: int) -> str:
    return f"… {count} more lines not kept: the limit is {lines} lines and {size} bytes of one attempt"


class Follower:
    """Reads a tail in a task of its own."""

    def __init__(self, client: Client, job_id: int, *, lease_epoch: int = 0, pause_s: float = 0.0) -> None:
        self.lines: list[LogLine] = []
        self._task = asyncio.ensure_future(self._read(client, job_id, lease_epoch, pause_s))

    async def _read(self, client: Client, job_id: int, lease_epoch: int, pause_s: float) -> None:
        async for line in client.tail_logs(job_id, lease_epoch=lease_epoch):
            self.lines.append(line)
            if pause_s:
                await asyncio.sleep(pause_s)

    @property
    def seen(self) -> list[tuple[int, int]]:
        return [(line.lease_epoch, line.line_no) for line in self.lines]

    async def has(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.lines) >= count or self._task.done()

        await until(enough, what=f"{count} lines")

    @property
    def ended(self) -> bool:
        return self._task.done()

    async def end(self) -> None:
        async with asyncio.timeout(20):
            await self._task


async def test_a_tail_has_what_is_stored_and_what_comes_each_once_and_ends_with_the_job(hand: ScriptedAgent, client: Client) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await hand.send(logs=[batch(job, range(1, 1501))])

    async def stored() -> bool:
        return len(await numbers(client, job_id)) == 1500

    await until(stored)
    tails = [Follower(client, job_id), Follower(client, job_id, lease_epoch=job.lease_epoch), Follower(client, job_id, pause_s=0.0005)]
    await tails[0].has(1500)
    for first in range(1501, 3001, 25):
        await hand.send(logs=[batch(job, range(first, first + 25))])
    assert not any(item.ended for item in tails)
    assert await hand.report(outcome(job, "completed")) == ["accepted"]
    await tails[0].has(3000)
    for _ in range(4):
        await pause()  # tails look again when the job has settled, and find nothing
    await hand.send(logs=[batch(job, range(3001, 3011))])  # what was on its way beside the outcome
    for item in tails:
        await item.end()
        assert item.seen == [(1, n) for n in range(1, 3011)]


async def test_a_tail_goes_on_with_the_next_attempt_and_that_of_an_attempt_does_not(hand: ScriptedAgent, client: Client) -> None:
    job_id = (await client.submit("t", delay_s=0.2)).job_id
    everything, first = Follower(client, job_id), Follower(client, job_id, lease_epoch=1)
    [job] = await hand.take(1)
    await hand.send(logs=[batch(job, [1, 2])])
    assert await hand.report(outcome(job, "failed", after_s=0)) == ["accepted"]
    await first.end()
    [again] = await hand.take(1)
    await hand.send(logs=[batch(again, [1, 2, 3])])
    await everything.has(5)
    assert not everything.ended
    assert await hand.report(outcome(again, "completed")) == ["accepted"]
    await everything.end()
    assert first.seen == [(1, 1), (1, 2)]
    assert everything.seen == [(1, 1), (1, 2), (3, 1), (3, 2), (3, 3)]
    assert [(line.run, line.attempt) for line in everything.lines][::4] == [(1, 1), (1, 2)]


async def test_a_tail_of_another_domains_job_is_refused(hand: ScriptedAgent, client: Client, broker: BrokerProcess) -> None:
    job_id = (await client.submit("t")).job_id
    async with Client(broker.address, domain="other") as stranger:
        with pytest.raises(NotFound):
            [line async for line in stranger.tail_logs(job_id)]


async def test_a_tail_goes_on_at_the_broker_that_takes_over(database: str, directory: Path, stack: AsyncExitStack) -> None:
    ports = free_ports(2)
    brokers = [await start_broker(directory, database=database, listen=f"127.0.0.1:{port}", name=f"broker{port}") for port in ports]
    for process in brokers:
        stack.push_async_callback(process.kill)
    client = await stack.enter_async_context(Client(",".join(f"127.0.0.1:{port}" for port in ports), timeout_s=20))
    hand = ScriptedAgent(f"127.0.0.1:{ports[0]}")
    stack.push_async_callback(hand.close)
    await hand.connect()
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    follower = Follower(client, job_id)
    await hand.send(logs=[batch(job, range(1, 101))])
    await follower.has(100)
    await brokers[0].kill()
    hand.address = f"127.0.0.1:{ports[1]}"

    async def connected() -> bool:
        try:
            await hand.connect()
        except Exception:  # it stands by still
            return False
        return True

    await until(connected, what="a session with the other broker")
    await hand.send(logs=[batch(job, range(51, 201))])  # not all that was stored had been confirmed
    assert await hand.report(outcome(job, "completed")) == ["accepted"]
    await follower.end()
    assert follower.seen == [(1, n) for n in range(1, 201)]


async def test_limits_hold_over_a_takeover_and_for_lines_that_come_late_or_again(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    async with AdminClient(broker.address) as admin, Client(broker.address) as client:
        await admin.set_type("t", log_limit_lines=1000, log_limit_bytes=1000)
        hand = ScriptedAgent(broker.address)
        stack.push_async_callback(hand.close)
        await hand.connect()
        job_id = (await client.submit("t")).job_id
        [job] = await hand.take(1)
        await hand.send(logs=[batch(job, range(1, 9), text="x" * 100)])

        async def eight() -> bool:
            return len(await numbers(client, job_id)) == 8

        await until(eight)
    await broker.kill()
    other = await start_broker(directory, database=database, name="other")
    stack.push_async_callback(other.kill)
    client = await stack.enter_async_context(Client(other.address))
    hand.address = other.address
    await hand.connect()
    await hand.send(logs=[batch(job, range(5, 16), text="x" * 100)])  # 5 to 8 again; 9 and 10 fit

    async def marked() -> bool:
        return mark(5, 1000, 1000) in await texts(client, job_id)

    await until(marked)
    await hand.send(logs=[batch(job, range(14, 21), text="y")])  # short enough, but the log is cut: it has no holes
    assert await hand.report(outcome(job, "completed")) == ["accepted"]
    await hand.send(logs=[batch(job, [1000], text="late"), batch(job, range(1, 4), text="again")])

    async def whole() -> bool:
        return mark(990, 1000, 1000) in await texts(client, job_id)

    await until(whole)
    assert await texts(client, job_id) == ["x" * 100] * 10 + [mark(990, 1000, 1000)]


async def test_the_next_attempt_has_room_of_its_own(hand: ScriptedAgent, client: Client, admin: AdminClient) -> None:
    await admin.set_type("t", log_limit_lines=2)
    job_id = (await client.submit("t")).job_id
    [first] = await hand.take(1)
    await hand.send(logs=[batch(first, range(1, 6))])
    assert await hand.report(outcome(first, "failed", after_s=0)) == ["accepted"]
    [second] = await hand.take(1)
    await hand.send(logs=[batch(second, [1]), batch(second, [2, 3, 4])])

    async def both() -> bool:
        return len(await numbers(client, job_id)) == 6

    await until(both)
    found = [(line.lease_epoch, line.line_no) async for line in client.logs(job_id)]
    assert found == [(1, 1), (1, 2), (1, 3), (3, 1), (3, 2), (3, 3)], "each with a mark of its own where the lines end"


async def test_lines_that_the_database_refused_for_a_moment_are_stored_before_later_ones_are_confirmed(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    con, holder = await asyncpg.connect(database), await asyncpg.connect(database)  # who looks is in no transaction: there pg_stat_activity stands still
    try:
        lock = holder.transaction()
        await lock.start()
        await holder.execute("lock table headrace.log_line in access exclusive mode")
        await hand.send(logs=[batch(job, [1, 2])])
        waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%insert into headrace.log_line%' and datname = current_database()"
        pid = await until(lambda: con.fetchval(waiting), what="the writer's wait")
        await con.execute("select pg_terminate_backend($1)", pid)
        await hand.send(logs=[batch(job, [3])])
        await lock.rollback()
    finally:
        await holder.close()
        await con.close()

    async def three() -> bool:
        return len(await numbers(client, job_id)) == 3

    await until(three, what="the lines of both messages")
    assert await numbers(client, job_id) == [1, 2, 3]


async def test_a_tail_shows_the_level_that_was_asked_for(connect: Connect, client: Client) -> None:
    agent = await connect()
    job_id = (await client.submit("t")).job_id
    [job] = await agent.take(1)
    await agent.send(logs=[batch(job, [1], level=1), batch(job, [2], level=4), batch(job, [3], level=3), batch(job, [4], level=9)])
    assert await agent.report(outcome(job, "completed")) == ["accepted"]
    assert [(line.line_no, line.level) async for line in client.tail_logs(job_id, min_level="warning")] == [(2, "error"), (3, "warning")]
    assert [line.level async for line in client.logs(job_id)] == ["debug", "error", "warning", "info"]


async def test_lines_are_stored_though_those_before_them_fill_a_statement_and_their_sender_has_gone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "MAX_LINES", 1)
    writer = LogWriter(machine.pool, machine.types.log_limits, Metrics())
    lines = [LogBatch((job_id, 1), None, False, [(1, datetime.now(UTC), 2, "said")], 1, None) for job_id in (1, 2)]
    async with writer._writing:  # a statement is under way
        gone, waits = [asyncio.create_task(writer.put([batch])) for batch in lines]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
    async with asyncio.timeout(10):
        await waits


async def test_lines_are_stored_though_whoever_was_storing_them_has_gone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "MAX_LINES", 3)
    job_ids = await granted(machine, 4)
    writer = LogWriter(machine.pool, machine.types.log_limits, Metrics())
    said = [(line_no, datetime.now(UTC), 2, "said") for line_no in (1, 2, 3)]
    lines = [LogBatch((job_id, 1), machine.type.type_id, True, said[:count], 1, 1) for job_id, count in zip(job_ids, (1, 1, 1, 3), strict=True)]
    con = await asyncpg.connect(machine._dsn)
    async with con.transaction():
        await con.execute("lock table headrace.log_line in exclusive mode")
        async with writer._writing:  # a statement is under way: the next one has the lines of the first three
            storing, gone, waits, later = [asyncio.create_task(writer.put([batch])) for batch in lines]
            await asyncio.sleep(0)
        while not await con.fetchval("select count(*) from pg_locks where not granted and relation = 'headrace.log_line'::regclass"):
            await asyncio.sleep(0.001)
        for task in (gone, storing):
            task.cancel()
        await asyncio.wait([gone, storing])
    await con.close()
    async with asyncio.timeout(10):
        await waits
        await later
    assert [row["job_id"] for row in await machine.pool.fetch("select job_id from headrace.log_line order by job_id")] == [job_ids[2], *[job_ids[3]] * 3]
    assert not writer._waiting, "and nothing is left of those that have gone"


async def test_an_error_that_comes_as_a_caller_goes_is_told_by_the_others_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[asyncio.Task[None]] = []
    writer, unheard = LogWriter(machine.pool, machine.types.log_limits, Metrics()), list[dict[str, Any]]()

    async def failing(_: object) -> int:
        tasks[1].cancel()
        raise ConnectionError("away")

    monkeypatch.setattr(writer, "_store", failing)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    async with writer._writing:  # a statement is under way: the next one has the lines of both
        tasks += [asyncio.create_task(writer.put([LogBatch((job_id, 1), None, False, [], 1, None)])) for job_id in (1, 2)]
        await asyncio.sleep(0)
    await asyncio.wait(tasks)
    assert isinstance(tasks[0].exception(), ConnectionError) and tasks[1].cancelled()
    tasks.clear()
    gc.collect()
    assert not unheard
