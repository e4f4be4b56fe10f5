"""What lives, by shard and broker, as the database knows it."""

from collections.abc import AsyncIterator

import pytest
from headrace_broker.model.balance import Standing
from headrace_broker.store import brokers
from headrace_broker.store.brokers import BrokerStore
from headrace_broker.store.ledger import Ledger
from headrace_broker.store.pool import open_pool

from tests.support.processes import until
from tests.support.shards import set_shards


@pytest.fixture
async def store(database: str) -> AsyncIterator[BrokerStore]:
    pool = await open_pool(database, size=2)
    yield BrokerStore(pool)
    await pool.close()


async def test_who_owns_and_who_stands_by(database: str, store: BrokerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_shards(database, 2)
    lives = {(b, n): await Ledger.open(database, address="test", version="0", shard=n, broker=b) for b in "ab" for n in range(2)}
    assert await store.standing(2) == Standing({}, {}, 2), "nobody has said that it is awake"
    for broker in "ab":
        await store.beat(broker, [0, 1])
        await store.beat(broker, [])
    both = frozenset("ab")
    assert await store.standing(2) == Standing({}, {0: both, 1: both}, 2)
    for shard in range(2):
        await store._pool.execute("update headrace.shard set life_id = $1 where shard = $2", lives["a", shard].life_id, shard)
    assert await store.standing(2) == Standing({0: "a", 1: "a"}, {0: frozenset("b"), 1: frozenset("b")}, 2)
    await store.beat("b", [1])
    assert await store.standing(2) == Standing({0: "a", 1: "a"}, {0: frozenset("b")}, 2), "it is not to be given that one"
    await store.beat("b", [])
    await lives["a", 0].leave()
    assert await store.standing(2) == Standing({1: "a"}, {0: frozenset("b"), 1: frozenset("b")}, 2)
    assert [row.shards for row in await store.all()] == [(1,), ()]
    lives["a", 1].abandon()

    async def free() -> bool:
        return not (await store.standing(2)).owners

    await until(free, what="the end of a life whose connection broke")
    [left] = await store.all()
    assert left.life_id == lives["b", 0].life_id, "a life that nobody has marked dead yet has ended all the same"
    asking = lives["b", 0]
    assert [await asking.has_ended(lives[each].life_id) for each in (("a", 0), ("a", 1), ("b", 1))] == [True, True, False]
    monkeypatch.setattr(brokers, "AWAKE_S", 0.0)
    assert await store.standing(2) == Standing({}, {}, 2), "who has been silent for too long is given nothing"
    for life in lives.values():
        await life.close()
