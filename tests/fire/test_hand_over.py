"""The queue changes hands while work goes on: what a successor reads is written before anybody has to wait for it, and a takeover asks the database for little."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.model.errors import Draining, NotOwner
from headrace_broker.model.ids import lowest_id_at
from headrace_broker.model.job import NoteKind
from headrace_broker.shards import flusher as flusher_module
from headrace_broker.shards import ownership as ownership_module
from headrace_broker.shards.intents import Note, PlainJobs
from headrace_broker.shards.owner import Owner, OwnerLimits
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.recover import recover
from headrace_broker.shards.types import TypeTable
from headrace_broker.store import ledger as ledger_module
from headrace_broker.store import partitions
from headrace_broker.store.batch import Batch
from headrace_broker.store.checkpoints import CheckpointStore, Chunk
from headrace_broker.store.ledger import Flushed, Ledger
from headrace_broker.store.pool import open_pool
from headrace_broker.store.recovery import Recovery
from headrace_broker.store.settings import SettingsStore
from headrace_broker.store.statements import sql

from tests.property.machine import Machine
from tests.support.processes import until

DAY_S = 86_400.0
BACKENDS = "select count(*) from pg_stat_activity a join headrace.life l on a.pid = l.backend_pid where l.life_id = $1"


class Held:
    """Checkpoints that are written when the test lets them be, and how many were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.free, self.times = asyncio.Event(), asyncio.Event(), 0
        write = CheckpointStore.write

        async def held(store: CheckpointStore, life_id: int, n: int, chunks: Iterable[Chunk]) -> tuple[int, int] | None:
            self.times += 1
            self.begun.set()
            await self.free.wait()
            return await write(store, life_id, n, chunks)

        monkeypatch.setattr(CheckpointStore, "write", held)


class Broker:
    """What owns the queue in a broker, or stands by."""

    def __init__(self, ownership: Ownership, running: "asyncio.Task[None]", pool: Any) -> None:
        self.ownership = ownership
        self.running = running
        self.pool = pool

    async def submit(self, count: int) -> list[int]:
        """Ids of so many jobs, once they are stored."""
        entry = await self.ownership.owner.types.ensure("default", "work")
        return await self.ownership.owner.submit(PlainJobs(entry, 0, [b"{}"] * count), 2 * count)


@asynccontextmanager
async def broker(database: str) -> AsyncIterator[Broker]:
    """One that has found its role."""
    pool = await open_pool(database, size=3)
    limits = OwnerLimits(30.0, 1.0, 1.0, 5.0, 1 << 20, 1 << 20)
    ownership = Ownership(dsn=database, pool=pool, types=TypeTable(SettingsStore(pool)), limits=limits, metrics=Metrics(), address="test", version="0")
    running = asyncio.create_task(ownership.run())
    try:
        async with asyncio.timeout(30):
            await ownership.listening.wait()
        yield Broker(ownership, running, pool)
    finally:
        await ownership.drain()
        async with asyncio.timeout(30):
            await asyncio.wait([running])
        await pool.close()
        if not running.cancelled():
            running.result()


@pytest.fixture
async def two(database: str, stack: AsyncExitStack) -> tuple[Broker, Broker]:
    """The owner, and one that stands by."""
    first = await stack.enter_async_context(broker(database))
    second = await stack.enter_async_context(broker(database))
    assert (first.ownership.role, second.ownership.role) == ("active", "standby")
    return first, second


async def test_jobs_are_taken_until_all_is_written_that_a_successor_reads(two: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two
    early = await first.submit(3)
    async with asyncio.timeout(60):
        await until(CheckpointStore(first.pool).find, what="the checkpoint of every 15 s", timeout_s=60)
        held = Held(monkeypatch)
        draining = asyncio.create_task(first.ownership.drain())
        await held.begun.wait()
        late = await first.submit(2)
        assert not draining.done() and first.ownership.role == "active" and second.ownership.role == "standby"
        held.free.set()
        await draining
        await first.running
        await second.ownership.ready.wait()
    assert held.times == 1, "nobody waits for another one"
    owner = second.ownership.owner
    assert sorted(job_id for _, _, ids in owner.lanes.copies() for job_id in ids) == sorted(early + late)


async def test_a_checkpoint_that_takes_too_long_is_written_when_nothing_else_is_left(two: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two
    monkeypatch.setattr(flusher_module, "PREPARE_S", 0.02)
    held = Held(monkeypatch)
    jobs = await first.submit(3)
    life_id = first.ownership.owner.life_id
    async with asyncio.timeout(60):
        await first.ownership.drain()
        assert not first.running.done()
        held.free.set()
        await first.running
        await second.ownership.ready.wait()
    stored = await CheckpointStore(second.pool).find()
    assert stored is not None and (stored.life_id, stored.max_id >= max(jobs)) == (life_id, True)


async def test_a_proof_that_is_under_way_when_the_ledger_was_read_comes_to_its_end(two: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres may get the wish to cancel it too late, and cancel the next flush."""
    first, second = two
    monkeypatch.setattr(ownership_module, "PROOF_S", 0.0)  # one after the other
    flush, reading, proven = Ledger.flush, asyncio.Event(), asyncio.Event()
    cancelled: list[int] = []

    async def watched(ledger: Ledger, batch: Any) -> Any:
        try:
            return await flush(ledger, batch)
        except asyncio.CancelledError:
            cancelled.append(ledger.n)
            raise
        finally:
            if reading.is_set():
                proven.set()

    async def slowly(*arguments: Any) -> Any:
        found = await recover(*arguments)
        reading.set()
        await proven.wait()
        return found

    monkeypatch.setattr(Ledger, "flush", watched)
    monkeypatch.setattr(ownership_module, "recover", slowly)
    async with asyncio.timeout(60):
        await first.ownership.drain()
        await second.ownership.ready.wait()
    assert not cancelled


async def test_what_else_ends_with_a_broker_is_not_waited_for_by_its_successor(two: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    first, second = two
    lingers, over = asyncio.Event(), asyncio.Event()

    async def lingering(_ownership: Ownership, _owner: Owner) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            lingers.set()
            await over.wait()

    monkeypatch.setattr(Ownership, "_keep_ranges", lingering)
    async with asyncio.timeout(60):
        await first.ownership.drain()
        await second.ownership.ready.wait()
        life_id = second.ownership.owner.life_id
        async with broker(database) as third:
            await second.ownership.drain()
            await third.ownership.ready.wait()  # its own side tasks are those of the test as well
            await lingers.wait()
            assert not second.running.done()
            assert await third.pool.fetchval(BACKENDS, life_id) == 1, "it had left by itself: a successor that waits in vain ends its backend"
            over.set()
            await second.running


async def test_a_broker_that_is_told_to_end_while_it_takes_over_does_not_begin_to_serve(
    two: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch, database: str
) -> None:  # fmt: skip
    first, second = two
    jobs = await first.submit(3)
    reading, free = asyncio.Event(), asyncio.Event()

    async def held(*_: Any) -> None:
        reading.set()
        await free.wait()

    async with asyncio.timeout(60):
        with monkeypatch.context() as patched:
            patched.setattr(ownership_module, "recover", held)
            await first.ownership.drain()
            await reading.wait()
            await second.ownership.drain()
            assert not second.running.done()
            free.set()
            await second.running
        assert not second.ownership.ready.is_set()
        async with broker(database) as third:
            await third.ownership.ready.wait()
            assert sorted(job_id for _, _, ids in third.ownership.owner.lanes.copies() for job_id in ids) == jobs


async def test_a_new_life_that_fails_to_take_over_leaves_the_way_free_for_the_next(database: str, monkeypatch: pytest.MonkeyPatch, stack: AsyncExitStack) -> None:
    monkeypatch.setitem(ledger_module.SETTINGS, "lock_timeout", "100ms")
    con: Any = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    async with asyncio.timeout(60), broker(database) as alone:
        await alone.ownership.ready.wait()
        life_id, lives = alone.ownership.owner.life_id, "select count(*) from headrace.life"
        before = await con.fetchval(lives)
        in_the_way = con.transaction()
        await in_the_way.start()
        await con.execute("select from headrace.life where life_id = $1 for share", life_id)  # it cannot be marked dead
        assert await alone.pool.fetchval("select pg_terminate_backend(backend_pid) from headrace.life where life_id = $1", life_id)

        async def tried_again() -> bool:
            return bool(await con.fetchval(lives) >= before + 2)

        await until(tried_again, what="a second life that tries")
        await in_the_way.rollback()
        [job_id] = await alone.submit(1)
        assert alone.ownership.owner.life_id > life_id
        assert await con.fetchval("select count(*) from headrace.job where job_id = $1", job_id) == 1
        assert await con.fetchval("select count(*) from pg_stat_activity where application_name = 'headrace flush' and datname = current_database()") == 1


async def test_a_round_that_nothing_can_store_is_given_up_and_what_comes_after_it_is_stored(database: str) -> None:
    async with asyncio.timeout(60), broker(database) as alone:
        await alone.ownership.ready.wait()
        owner = alone.ownership.owner
        [before] = await alone.submit(1)
        note = Note(before, 2**40, NoteKind.LATE_OUTCOME, b"{}", done=asyncio.get_running_loop().create_future())  # no lease has such a number
        assert note.done is not None
        owner.note(note)
        with pytest.raises(NotOwner, match="nothing was stored"):
            await note.done

        async def another() -> bool:
            return alone.ownership.ready.is_set() and alone.ownership.owner is not owner

        await until(another, what="an owner that read the ledger again")
        [after] = await alone.submit(1)
        assert sorted(job_id for _, _, ids in alone.ownership.owner.lanes.copies() for job_id in ids) == [before, after]


async def test_a_broker_that_was_stopped_while_it_looked_at_the_owner_does_not_take_it_for_hung(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hung_s, holders, flush, seen, ended, looks, awake = 2.0, Ledger.holders, Ledger.flush, list[Any](), list[int](), 0, asyncio.Event()
    monkeypatch.setattr(ownership_module, "HUNG_S", hung_s)
    monkeypatch.setattr(ownership_module, "STANDBY_POLL_S", 0.02)

    def stand_still() -> None:
        """As when the machine of both is suspended."""
        time.sleep(hung_s * 1.1)

    async def looking(ledger: Ledger) -> list[Any]:
        nonlocal looks
        found = await holders(ledger)
        if found and found == seen and not looks:
            awake.clear()
            stand_still()
        elif looks:  # it has looked again before the owner had its turn
            awake.set()
        looks += bool(looks) or (bool(found) and found == seen)
        seen[:] = found
        return found

    async def flushing(ledger: Ledger, batch: Batch) -> Flushed:
        await awake.wait()
        return await flush(ledger, batch)

    async def terminate(_ledger: Ledger, life_id: int) -> None:
        ended.append(life_id)

    awake.set()
    monkeypatch.setattr(Ledger, "flush", flushing)
    async with asyncio.timeout(60), broker(database) as first:
        await first.ownership.ready.wait()
        monkeypatch.setattr(Ledger, "holders", looking)
        monkeypatch.setattr(Ledger, "terminate", terminate)
        async with broker(database):

            async def looked_again() -> bool:
                return looks > 3

            await until(looked_again, what="further looks")
            assert not ended and first.ownership.role == "active"


async def test_who_takes_over_knows_settings_that_were_stored_after_newer_ones(two: tuple[Broker, Broker]) -> None:
    first, second = two
    types, known = first.ownership.owner.types, second.ownership._types
    early, late = await types.ensure("default", "early"), await types.ensure("default", "late")
    await known.load()
    moved = "update headrace.job_type set overrides = $3, changed_at = (select changed_at - interval '90 s' from headrace.job_type where type_id = $2) where type_id = $1"
    await first.pool.execute(moved, early.type_id, late.type_id, '{"paused": true}')  # in a transaction that began long before that of the other type, and ended after it
    await known.load()
    async with asyncio.timeout(60):
        await first.ownership.drain()
        await second.ownership.ready.wait()
    assert known.by_id[early.type_id].halted


# What a takeover reads -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements of takeovers."""
    names: list[str] = []
    read = Recovery._read

    async def noted(recovery: Recovery, name: str, *arguments: Any) -> list[Any]:
        names.append(name)
        return await read(recovery, name, *arguments)

    monkeypatch.setattr(Recovery, "_read", noted)
    return names


async def test_ranges_of_later_ids_are_not_read(machine: Machine, reads: list[str]) -> None:
    await machine.submit(3)
    assert len(await partitions.ranges(machine.pool)) >= 3
    await machine.crash(full=True)
    assert (reads.count("recover_live"), reads.count("recover_window")) == (1, 2), "and one window more, in which nothing is"
    await machine.flush()
    await machine.checkpoint(store=True, publish=True)
    reads.clear()
    await machine.crash()
    assert (reads.count("recover_touched"), reads.count("recover_window")) == (1, 1)


async def test_where_many_jobs_stand_is_read_on_the_connection_that_has_time(machine: Machine, reads: list[str]) -> None:
    """Others end a statement after 10 s: on a slow machine no takeover would come to its end."""
    await machine.submit(2)
    await machine.grant(1)
    await machine.checkpoint(store=True, publish=True)
    await machine.crash()
    assert reads.count("recover_heads") == 1


@pytest.mark.parametrize("based", [False, True], ids=["told by the flush rows", "told by the base"])
async def test_jobs_whose_ids_are_ahead_of_the_clock_are_read(machine: Machine, based: bool) -> None:
    now_s = machine.owner.clock.now_s()
    await partitions.ensure(machine.pool, {2}, now_s + DAY_S)
    machine.owner.clock.advance(DAY_S)
    await machine.submit(2)
    assert min(machine.jobs) > lowest_id_at(now_s + DAY_S / 2)
    if based:
        assert machine.ledger is not None
        await machine.ledger.base_counts(dict(machine.owner.counted), machine.owner.numbering.newest, absorb=True)
    machine.owner.clock.advance(-DAY_S)
    await machine.crash(full=True)  # each job that waits is in one lane, once
    await machine.submit(1)
    assert sorted(machine.jobs) == list(machine.jobs), "ids rise all the same"


async def test_ranges_that_are_there_are_not_asked_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = machine.owner.clock.now_s()
    there = await partitions.ranges(machine.pool)
    asked: list[str] = []

    def noted(name: str) -> str:
        asked.append(name)
        return sql(name)

    monkeypatch.setattr(partitions, "sql", noted)
    assert await partitions.ensure(machine.pool, {2}, now_s, there) == 0 and not asked
    assert await partitions.ensure(machine.pool, {2, 3}, now_s, there) == 3 and asked == ["range_add"] * 3


async def test_an_agent_that_comes_back_writes_nothing(machine: Machine) -> None:
    async def hello(build: str) -> tuple[int, Any]:
        agent_id, _ = await machine.settings.agent("default", "worker", "incarnation-0007", "host", 1, build, "", {"a": "b"})
        return agent_id, await machine.pool.fetchval("select xmin from headrace.agent where agent_id = $1", agent_id)

    first = await hello("1")
    assert await hello("1") == first
    again = await hello("2")
    assert again[0] == first[0] and again[1] != first[1]


async def test_a_recovery_that_fails_gives_its_connection_back(machine: Machine) -> None:
    async def fails() -> None:
        async with Recovery(machine.pool) as recovery:
            await recovery.counts()
            raise ZeroDivisionError

    for _ in range(4):  # one more than there are
        with pytest.raises(ZeroDivisionError):
            await fails()
    await machine.crash()


def _after(seconds: float) -> Callable[[], Awaitable[float]]:
    """How long others are waited for."""

    async def delay() -> float:
        return seconds

    return delay


async def test_a_broker_hands_over_stands_by_and_takes_over_again(two: tuple[Broker, Broker]) -> None:
    jobs: list[int] = []
    async with asyncio.timeout(90):
        for giver, taker in (two, two[::-1]):
            giver.ownership.take_delay, taker.ownership.take_delay = _after(30.0), _after(0.0)
            await taker.ownership.hand_over()  # it does not serve: nothing happens
            jobs += await giver.submit(3)
            before = giver.ownership.owner.life_id
            await giver.ownership.hand_over()
            assert giver.ownership.role == "standby" and not giver.ownership.ready.is_set()
            await taker.ownership.ready.wait()
            owner = taker.ownership.owner
            assert sorted(job_id for _, _, ids in owner.lanes.copies() for job_id in ids) == sorted(jobs)

            async def known(giver: Broker = giver, life_id: int = owner.life_id) -> bool:
                return giver.ownership.holder is not None and giver.ownership.holder.life_id == life_id

            await until(known, what="who owns the queue now")
            assert before < owner.life_id and not giver.running.done()
        jobs += await first_of(two).submit(1)
        assert len(set(jobs)) == 7


def first_of(two: tuple[Broker, Broker]) -> Broker:
    """The one that owns the queue."""
    return next(each for each in two if each.ownership.role == "active")


async def test_work_that_comes_while_a_broker_hands_over_is_refused_and_stored_nowhere(two: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two
    first.ownership.take_delay = _after(30.0)
    held, owner = Held(monkeypatch), first.ownership.owner
    entry, early = await owner.types.ensure("default", "work"), await first.submit(2)
    handing = asyncio.create_task(first.ownership.hand_over())
    await held.begun.wait()
    early += await first.submit(2)  # while it is prepared, work goes on
    held.free.set()
    async with asyncio.timeout(60):
        while owner.refusing is None:
            await asyncio.sleep(0)
        with pytest.raises(Draining):
            await owner.submit(PlainJobs(entry, 0, [b"{}"]), 2)
        await handing
        await second.ownership.ready.wait()
    assert sorted(job_id for _, _, ids in second.ownership.owner.lanes.copies() for job_id in ids) == early


async def test_a_free_shard_is_left_to_others_for_a_while_and_not_for_ever(two: tuple[Broker, Broker]) -> None:
    first, second = two
    second.ownership.take_delay = _after(0.6)
    ended = asyncio.get_running_loop().time()
    async with asyncio.timeout(60):
        await first.ownership.drain()
        await second.ownership.ready.wait()
    assert asyncio.get_running_loop().time() - ended >= 0.6
