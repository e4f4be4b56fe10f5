"""Brokers spread a queue's shards over themselves: as they come, when one ends or is killed, and when it comes back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.model.shard import Shard
from headrace_broker.shards import balance
from headrace_broker.shards.balance import Balance
from headrace_broker.shards.owner import OwnerLimits
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.types import TypeTable
from headrace_broker.store import brokers
from headrace_broker.store.brokers import BrokerStore
from headrace_broker.store.ledger import Ledger
from headrace_broker.store.pool import POOL_SIZE, open_pool
from headrace_broker.store.settings import SettingsStore

from tests.fire.test_given_up import Trap
from tests.support.processes import until
from tests.support.shards import set_shards

SHARDS = 4
LIMITS = OwnerLimits(30.0, 1.0, 1.0, 5.0, 1 << 20, 1 << 20)


class Broker:
    """The ownerships of a broker process, and what balances them."""

    def __init__(self, name: str, database: str, pool: Any) -> None:
        self.name = name
        types = TypeTable(SettingsStore(pool))
        self.ledgers: list[Ledger] = []
        self.ownerships = [self._ownership(database, pool, types, number) for number in range(SHARDS)]
        self.balance = Balance(name, self.ownerships, BrokerStore(pool))
        self.tasks: list[asyncio.Task[None]] = []

    def _ownership(self, database: str, pool: Any, types: TypeTable, number: int) -> Ownership:
        shard = Shard(number, SHARDS)
        ownership = Ownership(dsn=database, pool=pool, types=types, limits=LIMITS, metrics=Metrics(), address=self.name, version="0", shard=shard, broker=self.name)
        opening = ownership._open

        async def noted() -> Ledger:
            self.ledgers.append(await opening())
            return self.ledgers[-1]

        ownership._open = noted  # type: ignore[method-assign]
        return ownership

    @property
    def owned(self) -> set[int]:
        """Numbers of the shards that it serves."""
        return {ownership.shard.number for ownership in self.ownerships if ownership.ready.is_set()}

    def start(self) -> None:
        """Begins."""
        self.tasks = [asyncio.create_task(self.balance.run()), *(asyncio.create_task(ownership.run()) for ownership in self.ownerships)]

    async def stop(self) -> None:
        """As a broker that is told to end."""
        self.tasks.pop(0).cancel()
        async with asyncio.TaskGroup() as draining:
            for ownership in self.ownerships:
                draining.create_task(ownership.drain())
        await self._ended()

    async def kill(self) -> None:
        """As one that is killed: its connections break, and nothing is said."""
        for ledger in self.ledgers:
            ledger._left = True
            ledger.abandon()
        for task in self.tasks:
            task.cancel()
        await self._ended()

    async def _ended(self) -> None:
        async with asyncio.timeout(30):
            await asyncio.wait(self.tasks)
        self.tasks = []


@asynccontextmanager
async def broker(name: str, database: str) -> AsyncIterator[Broker]:
    """One that runs."""
    pool = await open_pool(database, size=POOL_SIZE + SHARDS)
    made = Broker(name, database, pool)
    made.start()
    try:
        yield made
    finally:
        if made.tasks:
            await made.kill()
        await pool.close()


async def _evenly(*of: Broker) -> None:
    async def spread() -> bool:
        owned = [broker.owned for broker in of]
        return sorted(number for each in owned for number in each) == list(range(SHARDS)) and max(map(len, owned)) - min(map(len, owned)) <= 1

    await until(spread, what=f"{SHARDS} shards spread over {len(of)} brokers", timeout_s=30)


async def test_shards_are_spread_over_the_brokers_that_there_are(database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STEADY_S", 0.5), ("PERIOD_S", 0.2)):
        monkeypatch.setattr(balance, name, value)
    moves = Counter[str]()
    hand_over = Ownership.hand_over

    async def counted(ownership: Ownership) -> None:
        moves["all"] += 1
        await hand_over(ownership)

    monkeypatch.setattr(Ownership, "hand_over", counted)
    await set_shards(database, SHARDS)
    first = await stack.enter_async_context(broker("a", database))
    await _evenly(first)
    second = await stack.enter_async_context(broker("b", database))
    await _evenly(first, second)
    third = await stack.enter_async_context(broker("c", database))
    await _evenly(first, second, third)
    assert moves["all"] == 3, "two to the second, one to the third"
    held = {each.name: each.owned for each in (first, third)}
    await second.stop()
    await _evenly(first, third)
    assert held["a"] <= first.owned and held["c"] <= third.owned and moves["all"] == 3, "who ends moves its own shards alone"
    await third.kill()
    await _evenly(first)
    again = await stack.enter_async_context(broker("d", database))
    await _evenly(first, again)
    assert moves["all"] == 5


async def test_a_broker_that_is_not_heard_of_is_given_nothing(database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STEADY_S", 0.2), ("PERIOD_S", 0.1)):
        monkeypatch.setattr(balance, name, value)
    monkeypatch.setattr(brokers, "AWAKE_S", 1.0)
    await set_shards(database, SHARDS)
    first = await stack.enter_async_context(broker("a", database))
    await _evenly(first)

    async def silent(_broker: str, _avoids: object) -> None:
        return

    monkeypatch.setattr(first.balance._store, "beat", silent)  # the first one is in the line of nobody; what it owns is its own
    second = await stack.enter_async_context(broker("b", database))
    monkeypatch.setattr(second.balance._store, "beat", silent)

    async def forgotten() -> bool:
        return not any((await second.balance._store.standing(SHARDS)).waiting.values())

    await until(forgotten, what="the end of what was heard of them")
    before = first.owned
    for _ in range(3):
        assert await first.balance.run_once() is None
    assert first.owned == before and len(before) + len(second.owned) == SHARDS


async def test_a_shard_is_not_given_back_to_a_broker_that_met_an_error_in_it(database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STEADY_S", 0.0), ("PERIOD_S", 0.1)):
        monkeypatch.setattr(balance, name, value)
    trap = Trap(monkeypatch)
    await set_shards(database, SHARDS)
    first = await stack.enter_async_context(broker("a", database))
    second = await stack.enter_async_context(broker("b", database))
    await _evenly(first, second)
    number = max(first.owned)
    before = first.owned - {number}
    trap.spring(first.ownerships[number].owner, ZeroDivisionError("what nobody expected"))
    await until(lambda: _true(number in second.owned), what="that another broker has the shard")
    await until(lambda: _true(first.ownerships[number].role == "standby"), what="that the first one stands by for it")
    await _evenly(first, second)
    assert number in second.owned and len(first.owned - before) == 1, "it is given another one"
    standing = await second.balance._store.standing(SHARDS)
    assert "a" not in standing.waiting.get(number, ())
    first.ownerships[number]._stumbles.away_until = 0.0

    async def forgiven() -> bool:
        return "a" in (await second.balance._store.standing(SHARDS)).waiting.get(number, ())

    await until(forgiven, what="that it may have the shard again")


async def _true(value: bool) -> bool:
    return value
