"""Each condition of the fence by itself, for both statements that store facts; and what a broker does before it believes that an old life is over."""

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace

import asyncpg
import pytest
from headrace_broker.maintenance.loop import repeat
from headrace_broker.metrics import Metrics
from headrace_broker.model.job import NoteKind
from headrace_broker.shards.owner import OwnerLimits
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.types import TypeTable
from headrace_broker.store.batch import Batch
from headrace_broker.store.ledger import FactsLost, Fenced, Ledger, ResultUnknown
from headrace_broker.store.settings import SettingsStore

from tests.store.test_ledger import Bench, bench

__all__ = ["bench"]
FACTS = ("job", "event", "note", "alert", "flush", "idempotency_key")


def _everything(bench: Bench) -> Batch:
    """A batch with a fact of each kind."""
    batch = Batch()
    job_id = bench.job(batch)
    bench.grant(batch, job_id)
    batch.add_note(job_id, 1, NoteKind.CHECKPOINT, data=b"x")
    batch.add_alert(job_id, bench.type_id, 1, "job_error", None)
    return batch


async def _store(bench: Bench, ledger: Ledger, *, keyed: bool) -> None:
    if keyed:
        batch = Batch()
        bench.job(batch)
        batch.counts.clear()
        await ledger.flush_keyed(batch, [(bench.domain_id, "key", b"hash")])
    else:
        await ledger.flush(_everything(bench))


async def _nothing_stored(bench: Bench) -> bool:
    return [await bench.count(table) for table in FACTS] == [0] * len(FACTS)


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
async def test_a_dead_life_stores_no_fact_of_any_kind(bench: Bench, stack: AsyncExitStack, keyed: bool) -> None:
    old = await bench.owner(stack)
    await bench.pool.execute("update headrace.life set dead = true where life_id = $1", old.life_id)
    with pytest.raises(Fenced):
        await _store(bench, old, keyed=keyed)
    assert await _nothing_stored(bench)


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
async def test_a_connection_stores_nothing_in_the_name_of_another_life(bench: Bench, stack: AsyncExitStack, keyed: bool) -> None:
    mine, other = await bench.owner(stack), await bench.life(stack)
    impostor = Ledger(other._con, mine.life_id)
    impostor._flush, impostor._flush_keyed = other._flush, other._flush_keyed
    with pytest.raises(Fenced):
        await _store(bench, impostor, keyed=keyed)
    assert await _nothing_stored(bench)


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
async def test_a_life_is_not_marked_dead_in_the_middle_of_its_flush(bench: Bench, stack: AsyncExitStack, keyed: bool) -> None:
    old = await bench.owner(stack)
    async with old._con.transaction():
        await _store(bench, old, keyed=keyed)  # stored, not committed
        con = await asyncpg.connect(bench.dsn, server_settings={"lock_timeout": "100ms"})
        stack.push_async_callback(con.close)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await con.execute("update headrace.life set dead = true where life_id = $1", old.life_id)


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
async def test_a_warning_at_the_commit_leaves_the_result_unknown(bench: Bench, stack: AsyncExitStack, keyed: bool) -> None:
    ledger = await bench.owner(stack)
    await bench.pool.execute(
        "create function warn() returns trigger language plpgsql as $$ begin raise warning 'as of a cancelled wait for the standby'; return null; end $$"
    )
    await bench.pool.execute("create trigger warn after insert on headrace.flush for each row execute function warn()")
    with pytest.raises(ResultUnknown):
        await _store(bench, ledger, keyed=keyed)
    assert await ledger.landed(ledger.life_id, 1)


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
async def test_a_server_that_has_become_read_only_is_a_lost_connection(bench: Bench, stack: AsyncExitStack, keyed: bool) -> None:
    ledger = await bench.owner(stack)
    await ledger._con.execute("set default_transaction_read_only = on")
    with pytest.raises(ResultUnknown, match="ReadOnly"):
        await _store(bench, ledger, keyed=keyed)
    await ledger._con.execute("set default_transaction_read_only = off")


async def test_a_taker_ends_the_old_lifes_right_to_write_and_not_only_its_ownership(bench: Bench, stack: AsyncExitStack) -> None:
    old, new = await bench.owner(stack), await bench.life(stack)
    assert not await new.take_over(old.life_id), "its lock is held"
    assert not await new.owns_its_shard()
    await old._con.execute("select pg_advisory_unlock_all()")  # the lock fell, and the connection lives
    assert await new.take_over(old.life_id)
    assert await new.owns_its_shard() and not await old.owns_its_shard()
    with pytest.raises(Fenced):
        await old.flush(_everything(bench))
    assert await _nothing_stored(bench)


async def test_a_backend_that_merely_has_the_pid_of_a_life_is_not_ended(bench: Bench, stack: AsyncExitStack) -> None:
    old, new = await bench.owner(stack), await bench.life(stack)
    await bench.pool.execute("update headrace.life set backend_start = backend_start - interval '1 s' where life_id = $1", old.life_id)
    await new.terminate(old.life_id)
    await old.flush(Batch())
    await bench.pool.execute("update headrace.life set backend_start = backend_start + interval '1 s' where life_id = $1", old.life_id)
    await new.terminate(old.life_id)
    with pytest.raises((Fenced, ResultUnknown)):
        await old.flush(Batch())


@pytest.fixture
async def ownership(bench: Bench) -> Ownership:
    """Of a broker whose life was cut off from it."""
    limits = OwnerLimits(3.0, 1.0, 1.0, 5.0, 1 << 20, 1 << 20)
    types = TypeTable(SettingsStore(bench.pool))
    return Ownership(dsn=bench.dsn, pool=bench.pool, types=types, limits=limits, metrics=Metrics(), address="test", version="0")


async def test_a_broker_ends_its_own_old_life_before_it_asks_what_became_of_its_flush(bench: Bench, stack: AsyncExitStack, ownership: Ownership) -> None:
    old = await bench.owner(stack)
    await old.flush(_everything(bench))
    async with asyncio.timeout(10):
        new = await ownership._succeed(old)  # the old backend still lives: it could commit at any time
    stack.push_async_callback(new.close)
    assert await new.landed(old.life_id, 1) and not await new.landed(old.life_id, 2)
    with pytest.raises((Fenced, ResultUnknown)):
        await old.flush(Batch())
    assert await bench.pool.fetchval("select dead from headrace.life where life_id = $1", old.life_id)
    assert await new.owns_its_shard()


async def test_a_broker_notices_that_what_it_had_acknowledged_is_gone(bench: Bench, stack: AsyncExitStack, ownership: Ownership) -> None:
    """As after a failover to a server that did not have it. The newest flush may be missing: its answer was lost; the last one that was answered may not."""
    first = await bench.owner(stack)
    await first.flush(Batch())
    second = await ownership._succeed(first)  # and stores nothing yet: what it follows counts
    await bench.pool.execute("delete from headrace.flush where life_id = $1", first.life_id)
    with pytest.raises(FactsLost, match=f"flush 1 of life {first.life_id}"):
        await ownership._succeed(second)
    await second.close()


async def test_a_broker_whose_shards_were_taken_meanwhile_is_fenced(bench: Bench, stack: AsyncExitStack, ownership: Ownership) -> None:
    old, other = await bench.owner(stack), await bench.life(stack)
    await old.close()
    while not await other.take_over(old.life_id):
        await asyncio.sleep(0)
    with pytest.raises(Fenced):
        async with asyncio.timeout(10):
            await ownership._succeed(old)
    await other.flush(Batch())


async def test_a_duty_asks_whether_it_is_still_its_owners(bench: Bench, stack: AsyncExitStack, ownership: Ownership) -> None:
    old, other = await bench.owner(stack), await bench.life(stack)
    ownership._owner = SimpleNamespace(life_id=old.life_id)  # type: ignore[assignment]  # what is asked of it
    ownership.ready.set()
    passes = asyncio.Queue[None]()

    async def run_once() -> None:
        passes.put_nowait(None)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        duty = tasks.create_task(repeat("a duty", run_once, period_s=0.01, ownership=ownership))
        await passes.get()
        await old.close()
        while not await other.take_over(old.life_id):
            await asyncio.sleep(0)
        assert not await ownership.owns()
        while not passes.empty():  # of passes that were on their way
            passes.get_nowait()
        asked, owns = asyncio.Queue[None](), ownership.owns

        async def count() -> bool:
            asked.put_nowait(None)
            return await owns()

        ownership.owns = count  # type: ignore[method-assign]
        for _ in range(4):
            await asked.get()
        assert passes.empty(), "the woken owner believes that it owns the queue, and does nothing of what its duties are"
        duty.cancel()


async def test_a_life_that_ends_by_itself_is_dead_at_once_and_wakes_who_stands_by(bench: Bench, stack: AsyncExitStack) -> None:
    old, other = await bench.owner(stack), await bench.life(stack)
    woken = asyncio.Event()
    await other.hear_of_ends(woken.set)
    await old.flush(Batch())
    await old.close()
    async with asyncio.timeout(10):
        await woken.wait()
    assert await bench.pool.fetchval("select dead from headrace.life where life_id = $1", old.life_id)
    assert await other.take_over(old.life_id) and await other.owns_its_shard()
