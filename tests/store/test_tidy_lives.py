"""Lives of brokers that ended long ago are forgotten, and none that something still needs."""

from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from headrace_broker.maintenance import tidy_lives
from headrace_broker.maintenance.tidy_lives import TidyLives
from headrace_broker.store.batch import Batch
from headrace_broker.store.brokers import BrokerStore
from headrace_broker.store.ledger import Fenced, Ledger
from headrace_broker.store.migrate import LIFE_LOCKS
from headrace_broker.store.pool import open_pool
from headrace_broker.store.recovery import Recovery

from tests.support.processes import until

BASE = "insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value) values ($1, 1, $2, $3::int[], $3, $3, $3)"
FLUSH = "insert into headrace.flush (life_id, slot, n, max_id, count_type, count_state, count_minute, count_delta) values ($1, 3, 1, 0, '{}', '{}', '{}', '{}')"
CHECKPOINT = "insert into headrace.checkpoint (life_id, n, side, chunks, max_id, floor) values ($1, 1, 0, 0, 0, now()) on conflict (shard) do update set life_id = $1"
PEER = "insert into headrace.peer (life_id, host, endpoint, web, key, certificate) values ($1, 'host', '', '', decode(repeat('00', 32), 'hex'), '')"
EIGHT_DAYS = "update headrace.life set started_at = now() - interval '8 days'"


@pytest.fixture
async def pool(database: str, stack: AsyncExitStack) -> "asyncpg.Pool[Any]":
    found = await open_pool(database, size=2)
    stack.push_async_callback(found.close)
    return found


async def opened(database: str, stack: AsyncExitStack, address: str) -> Ledger:
    """A life that has begun."""
    ledger = await Ledger.open(database, address=address, version="0")
    stack.push_async_callback(ledger.close)
    return ledger


async def ended(pool: "asyncpg.Pool[Any]", address: str) -> int:
    """A life that was marked dead."""
    query = "insert into headrace.life (backend_pid, backend_start, dead, address, version) values (0, now(), true, $1, '0') returning life_id"
    return int(await pool.fetchval(query, address))


async def left(pool: "asyncpg.Pool[Any]") -> set[str]:
    """The addresses of those that are not forgotten."""
    return {row["address"] for row in await pool.fetch("select address from headrace.life")}


async def test_only_lives_that_have_ended_and_that_nothing_needs_are_forgotten(database: str, pool: "asyncpg.Pool[Any]", stack: AsyncExitStack) -> None:
    owner, _, killed = [await opened(database, stack, address) for address in ("owner", "standby", "killed")]
    assert await owner.take_over(0)
    killed.abandon()

    async def free() -> bool:
        return not await pool.fetchval("select count(*) from pg_locks where locktype = 'advisory' and classid = $1 and objid = $2", LIFE_LOCKS, killed.life_id)

    await until(free, what="the lock of a standby that was killed, which nobody marks dead")
    dead = {address: await ended(pool, address) for address in ("absorbed", "counted", "numbered", "flushing", "noted")}
    for address, max_id, counts in (("absorbed", 0, []), ("counted", 0, [1]), ("numbered", 7, [])):
        await pool.execute(BASE, dead[address], max_id, counts)
    for statement, address in ((FLUSH, "flushing"), (CHECKPOINT, "noted"), (PEER, "absorbed")):
        await pool.execute(statement, dead[address])
    await pool.execute(EIGHT_DAYS)
    await ended(pool, "young")
    async with Recovery(pool) as recovery:
        before = await recovery.counts()
    assert await TidyLives(BrokerStore(pool)).run_once() == {"lives": 2}
    assert await left(pool) == {"owner", "standby", "counted", "numbered", "flushing", "noted", "young"}
    assert await TidyLives(BrokerStore(pool)).run_once() == {}
    async with Recovery(pool) as recovery:
        assert await recovery.counts() == before
    await owner.flush(Batch())
    await owner.base_counts({}, 8, absorb=True)
    await pool.execute("delete from headrace.flush")
    assert await TidyLives(BrokerStore(pool)).run_once() == {"lives": 3}, "their counts were taken over, and their flush rows given back"
    assert await left(pool) == {"owner", "standby", "noted", "young"}


async def test_a_broker_whose_life_is_forgotten_stores_nothing(database: str, pool: "asyncpg.Pool[Any]", stack: AsyncExitStack) -> None:
    frozen = await opened(database, stack, "frozen")
    await pool.execute("delete from headrace.life where life_id = $1", frozen.life_id)
    with pytest.raises(Fenced):
        await frozen.flush(Batch())


async def test_lives_are_forgotten_in_portions(pool: "asyncpg.Pool[Any]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy_lives, "AT_ONCE", 2)
    monkeypatch.setattr(tidy_lives, "ROUNDS", 2)
    for number in range(5):
        await ended(pool, str(number))
    await pool.execute(EIGHT_DAYS)
    assert [await TidyLives(BrokerStore(pool)).run_once() for _ in range(3)] == [{"lives": 4}, {"lives": 1}, {}]
