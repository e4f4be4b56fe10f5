"""The protocol of lives, fences and flushes, on two connections at once."""

import asyncio
import functools
import json
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.ids import DEFAULT_CLASS, TICK_SHIFT, lowest_id_at
from headrace_broker.model.job import Kind, State
from headrace_broker.store import partitions
from headrace_broker.store.batch import Batch, FullBody
from headrace_broker.store.ledger import Fenced, KeyTaken, Ledger, NothingStored, ResultUnknown
from headrace_broker.store.pool import open_pool
from headrace_broker.store.recovery import Recovery
from headrace_broker.store.settings import SettingsStore

from tests.support.processes import until


class Bench:
    """A database with one type and partitions for now."""

    def __init__(self, dsn: str, pool: Any, type_id: int, domain_id: int, now_s: float) -> None:
        self.dsn = dsn
        self.pool = pool
        self.type_id = type_id
        self.domain_id = domain_id
        self._tick = lowest_id_at(now_s) >> TICK_SHIFT

    def job(self, batch: Batch) -> int:
        """Adds a job to a batch."""
        self._tick += 1
        job_id = (self._tick << TICK_SHIFT) | DEFAULT_CLASS
        batch.add_job(job_id, self.type_id, 0, b"1")
        batch.counts[self.type_id, State.WAITING, 0] += 1
        batch.max_id = job_id
        return job_id

    def grant(self, batch: Batch, job_id: int, seq: int = 1) -> None:
        """Adds a grant to a batch."""
        batch.add_event(job_id, seq, self.type_id, Kind.GRANTED, State.PROCESSING, 1, 1, 0, None)
        batch.counts[self.type_id, State.WAITING, 0] -= 1
        batch.counts[self.type_id, State.PROCESSING, 0] += 1

    async def life(self, stack: AsyncExitStack) -> Ledger:
        """A new life."""
        ledger = await Ledger.open(self.dsn, address="test", version="0")
        stack.push_async_callback(ledger.close)
        return ledger

    async def owner(self, stack: AsyncExitStack) -> Ledger:
        """A new life that owns all shards."""
        ledger = await self.life(stack)
        assert await ledger.take_over(0) and await ledger.owns_its_shard()
        return ledger

    async def count(self, table: str) -> int:
        """Rows of a table."""
        return int(await self.pool.fetchval(f"select count(*) from headrace.{table}"))


@pytest.fixture
async def bench(database: str, stack: AsyncExitStack) -> Bench:
    pool = await open_pool(database)
    stack.push_async_callback(pool.close)
    settings = SettingsStore(pool)
    row = await settings.add_type("default", "t")
    now_s = float(await pool.fetchval("select extract(epoch from now())::float8"))
    await partitions.ensure(pool, {DEFAULT_CLASS}, now_s)
    return Bench(database, pool, row.type_id, row.domain_id, now_s)


async def test_a_life_that_was_marked_dead_stores_nothing_more(bench: Bench, stack: AsyncExitStack) -> None:
    old, new = await bench.owner(stack), await bench.life(stack)
    batch = Batch()
    bench.job(batch)
    await old.flush(batch)
    assert not await new.take_over(old.life_id), "its lock is held: it is alive"
    await new.terminate(old.life_id)
    while not await new.take_over(old.life_id):
        await asyncio.sleep(0)
    assert await new.owns_its_shard()
    late = Batch()
    bench.job(late)
    with pytest.raises((Fenced, ResultUnknown)):
        await old.flush(late)
    assert await bench.count("job") == 1


async def test_the_fence_holds_even_where_the_old_connection_lives(bench: Bench, stack: AsyncExitStack) -> None:
    old = await bench.owner(stack)
    await bench.pool.execute("update headrace.life set dead = true where life_id = $1", old.life_id)
    batch = Batch()
    bench.job(batch)
    with pytest.raises(Fenced):
        await old.flush(batch)
    assert await bench.count("job") == 0
    assert await bench.count("flush") == 0


async def test_another_connection_cannot_write_in_a_lifes_name(bench: Bench, stack: AsyncExitStack) -> None:
    mine, other = await bench.owner(stack), await bench.life(stack)
    impostor = Ledger(other._con, mine.life_id)
    impostor._flush = other._flush
    batch = Batch()
    bench.job(batch)
    with pytest.raises(Fenced):
        await impostor.flush(batch)


async def test_a_taken_key_fails_the_whole_flush(bench: Bench, stack: AsyncExitStack) -> None:
    ledger = await bench.owner(stack)
    batch = Batch()
    job_id = bench.job(batch)
    bench.grant(batch, job_id)
    await ledger.flush(batch)
    again = Batch()
    bench.job(again)
    bench.grant(again, job_id)
    with pytest.raises(KeyTaken):
        await ledger.flush(again)
    assert (await bench.count("job"), await bench.count("event"), await bench.count("flush")) == (1, 1, 1)


async def test_whether_a_flush_landed_is_told_by_its_row_alone(bench: Bench, stack: AsyncExitStack) -> None:
    old, new = await bench.owner(stack), await bench.life(stack)
    batch = Batch()
    bench.job(batch)
    await old.flush(batch)
    await old.close()
    while not await new.take_over(old.life_id):
        await asyncio.sleep(0)
    assert await new.landed(old.life_id, 1)
    assert not await new.landed(old.life_id, 2)


async def test_keyed_jobs_are_stored_once_and_the_holder_is_named(bench: Bench, stack: AsyncExitStack) -> None:
    ledger = await bench.owner(stack)
    first, second = Batch(), Batch()
    held = bench.job(first)
    first.counts.clear()
    flushed = await ledger.flush_keyed(first, [(bench.domain_id, "a", b"hash")])
    assert flushed.stored == {held}
    bench.job(second)
    new = bench.job(second)
    flushed = await ledger.flush_keyed(second, [(bench.domain_id, "a", b"other"), (bench.domain_id, "b", b"hash")])
    assert flushed.stored == {new}
    holders = await ledger.key_holders([(bench.domain_id, "a"), (bench.domain_id, "c")])
    assert {key: (holder.job_id, holder.body_hash) for key, holder in holders.items()} == {(bench.domain_id, "a"): (held, b"hash")}


async def test_a_unique_key_is_taken_from_a_holder_that_is_settled_and_from_no_other(bench: Bench, stack: AsyncExitStack) -> None:
    ledger = await bench.owner(stack)

    async def submit(*names: str | None, key: str | None = None) -> list[int]:
        batch = Batch()
        job_ids = [bench.job(batch) for _ in names]
        batch.job_body = [FullBody(b"1", more=None if name is None else json.dumps({"unique_key": name})) for name in names]
        batch.counts.clear()
        stored = (await ledger.flush_keyed(batch, [(bench.domain_id, key, b"" if key else None) for name in names])).stored
        return [job_id for job_id in job_ids if job_id in stored]

    async def move(job_id: int, seq: int, kind: Kind, state: State) -> None:
        batch = Batch()
        batch.add_event(job_id, seq, bench.type_id, kind, state, 1, 1, 0, None)
        before = State.WAITING if seq == 1 else State.PROCESSING
        batch.counts[bench.type_id, before, 0] -= 1
        batch.counts[bench.type_id, state, 0] += 1
        await ledger.flush(batch)

    [first, _] = await submit("u", None)
    assert await submit("u", key="k") == []
    await move(first, 1, Kind.GRANTED, State.PROCESSING)
    assert await submit("u") == []
    assert await ledger.unique_holders([(bench.domain_id, "u"), (bench.domain_id, "v")]) == {(bench.domain_id, "u"): first}
    await move(first, 2, Kind.COMPLETED, State.COMPLETED)
    assert await ledger.unique_holders([(bench.domain_id, "u")]) == {}
    [second] = await submit("u", key="k")  # the key of a job that was refused is free
    assert await ledger.unique_holders([(bench.domain_id, "u")]) == {(bench.domain_id, "u"): second}
    assert await submit("w", key="k") == [] and await ledger.unique_holders([(bench.domain_id, "w")]) == {}
    assert await bench.count("unique_key") == 1, "whoever brings a known idempotency key takes no other"
    assert await ledger.stored([first, second, second + 8]) == {first, second}


async def test_a_job_that_is_live_again_does_not_take_a_unique_key_from_a_live_one(bench: Bench, stack: AsyncExitStack) -> None:
    ledger = await bench.owner(stack)
    batch = Batch()
    holder = bench.job(batch)
    batch.job_body = [FullBody(b"1", more='{"unique_key": "u"}')]
    batch.counts.clear()
    await ledger.flush_keyed(batch, [(bench.domain_id, None, None)])
    claim = Batch()
    claim.claims[bench.domain_id, "u"] = holder + 8
    with pytest.raises(KeyTaken):
        await ledger.flush(claim)
    assert await ledger.unique_holders([(bench.domain_id, "u")]) == {(bench.domain_id, "u"): holder}


async def test_counts_are_those_of_all_lives_and_are_not_read_twice_once_based(bench: Bench, stack: AsyncExitStack) -> None:
    recovery = await stack.enter_async_context(Recovery(bench.pool))
    old = await bench.owner(stack)
    batch = Batch()
    jobs = [bench.job(batch) for _ in range(3)]
    await old.flush(batch)
    granted = Batch()
    bench.grant(granted, jobs[0])
    granted.max_id = batch.max_id
    await old.flush(granted)
    wanted = {(bench.type_id, State.WAITING, 0): 2, (bench.type_id, State.PROCESSING, 0): 1}
    assert await recovery.counts() == (wanted, batch.max_id)
    await old.close()
    new = await bench.life(stack)
    while not await new.take_over(old.life_id):
        await asyncio.sleep(0)
    counts, max_id = await recovery.counts()
    await new.base_counts(counts, max_id, absorb=True)
    assert await recovery.counts() == (wanted, max_id)
    more = Batch()
    bench.job(more)
    await new.flush(more)
    wanted[bench.type_id, State.WAITING, 0] = 3
    assert await recovery.counts() == (wanted, more.max_id)


async def test_the_counts_of_a_life_that_ended_before_its_first_flush_are_taken_over_once(bench: Bench, stack: AsyncExitStack) -> None:
    ledger = await bench.owner(stack)
    batch = Batch()
    bench.job(batch)
    await ledger.flush(batch)
    wanted = {(bench.type_id, State.WAITING, 0): 1}
    for _ in range(3):
        await ledger.close()
        heir = await bench.life(stack)
        await until(functools.partial(heir.take_over, ledger.life_id), what="the lock of the life that ended")
        ledger = heir
        async with Recovery(bench.pool) as recovery:
            counts, max_id = await recovery.counts()
        assert counts == wanted
        await ledger.base_counts(counts, max_id, absorb=True)


async def test_a_job_id_without_a_partition_is_refused_and_leaves_nothing(bench: Bench, stack: AsyncExitStack) -> None:
    ledger = await bench.owner(stack)
    batch = Batch()
    bench.job(batch)
    batch.job_id[0] = lowest_id_at(4_000_000_000.0) | DEFAULT_CLASS
    with pytest.raises(NothingStored):
        await ledger.flush(batch)
    good = Batch()
    bench.job(good)
    await ledger.flush(good)
    assert await bench.count("job") == 1


async def test_a_lock_on_a_leaf_refuses_the_flush_in_time_and_the_next_one_passes(bench: Bench, stack: AsyncExitStack) -> None:
    ledger = await bench.owner(stack)
    con = await asyncpg.connect(bench.dsn)
    stack.push_async_callback(con.close)
    transaction = con.transaction()
    await transaction.start()
    await con.execute("lock table headrace.job in access exclusive mode")
    batch = Batch()
    bench.job(batch)
    with pytest.raises(NothingStored, match="lock"):
        await ledger.flush(batch)
    await transaction.rollback()
    await ledger.flush(batch)
    assert await bench.count("job") == 1


async def test_ranges_are_made_once_however_many_ask(bench: Bench) -> None:
    now_s = float(await bench.pool.fetchval("select extract(epoch from now())::float8"))
    made = await asyncio.gather(*(partitions.ensure(bench.pool, {0, 1, 2, 3, 4, 5}, now_s) for _ in range(5)))
    assert sum(made) == 5 * 3  # class 2 has its three already
    assert len(await partitions.ranges(bench.pool)) == 6 * 3


async def test_a_life_whose_end_is_cancelled_leaves_no_connection_behind(bench: Bench) -> None:
    ledger = await Ledger.open(bench.dsn, address="test", version="0")
    async with bench.pool.acquire() as con, con.transaction():
        await con.execute("select from headrace.life where life_id = $1 for update", ledger.life_id)
        closing = asyncio.create_task(ledger.close())
        while not await con.fetchval("select count(*) from pg_locks where not granted and locktype in ('transactionid', 'tuple')"):
            await asyncio.sleep(0.001)
        closing.cancel()
        await asyncio.wait([closing])
    assert closing.cancelled() and ledger._con.is_closed()
