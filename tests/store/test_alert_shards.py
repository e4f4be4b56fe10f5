"""Alerts in a queue of two shards: each has a duty of its own, over the failures and rules of its domains; none is lost or counted twice when the number changes."""

from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.alert_rules import DEFAULTS, Rule
from headrace_broker.model.alerting import Source, Timing
from headrace_broker.model.audit import Caller
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.store.alerts import AlertStore, LostDuty
from headrace_broker.store.pool import open_pool
from headrace_broker.store.settings import SettingsStore
from headrace_broker.store.shards import set_shards

TESTER = Caller("test", "default", "r1")


class Duty:
    """Of one shard, for one type."""

    def __init__(self, pool: "asyncpg.Pool[Any]", shard: Shard, life_id: int, types: list[int]) -> None:
        self.pool, self.store, self.life_id, self.types, self.term = pool, AlertStore(pool, shard), life_id, types, 0

    async def claim(self) -> "Duty":
        """Takes it up."""
        self.term = await self.store.claim(self.life_id)
        return self

    async def fail(self, count: int) -> None:
        """Failures of its first type."""
        await self.pool.execute(
            "insert into headrace.alert (job_id, type_id, seq, kind, error) select n, $1, 2, 'job_error', '{\"code\": \"Boom\"}' from generate_series(1, $2) n",
            self.types[0], count,
        )  # fmt: skip

    async def fresh(self) -> bool:
        """Whether there is something to do."""
        term, _, fresh = await self.store.poll(self.types)
        assert term == self.term
        return fresh

    async def take(self) -> int:
        """How many failures are taken into groups."""
        async with self.store.moving(self.term) as move:
            signals = await move.signals(self.types)
            await move.put([], [], max((signal.newest for signal in signals), default=move.cursor))
        assert {signal.type_id for signal in signals} <= set(self.types)
        return sum(signal.failures for signal in signals)


@pytest.fixture
async def pool(database: str, stack: AsyncExitStack) -> "asyncpg.Pool[Any]":
    """Of a database that has two shards."""
    await set_shards(database, 2)
    made = await open_pool(database, size=2)
    stack.push_async_callback(made.close)
    return made


async def _life(pool: "asyncpg.Pool[Any]", shard: int) -> int:
    """A broker's life in a shard."""
    statement = "insert into headrace.life (backend_pid, backend_start, address, version, shard) values (0, now(), 'test', '0', $1) returning life_id"
    return int(await pool.fetchval(statement, shard))


async def test_each_shard_has_its_own_alerts_whatever_their_number(pool: "asyncpg.Pool[Any]", database: str) -> None:
    settings = SettingsStore(pool)
    rows = sorted([await settings.add_type(name, "t") for name in ("one", "two")], key=lambda row: row.domain_id % 2)
    first, second = [await Duty(pool, Shard(n, 2), await _life(pool, n), [rows[n].type_id]).claim() for n in range(2)]
    assert not await first.fresh() and not await second.fresh()
    await second.fail(2)
    await first.fail(3)
    assert await first.fresh() and await second.fresh()
    assert await first.take() == 3
    assert not await first.fresh() and await second.fresh(), "what another shard has taken since is none of its business"
    await first.fail(1)
    await first.claim()
    assert await second.fresh(), "and neither is who has the duty of the other"
    for row in rows:
        default = DEFAULTS[Source.NO_AGENT]
        rule = Rule(0, row.domain, "r", Source.NO_AGENT, "", default.threshold, default.window_s, default.minimum, default.for_s, (), Timing(0.0, 60.0, 3600.0))
        await first.store.put_rule(rule, caller=TESTER, reason="")
    assert [[rule.domain for rule in await duty.store.rules(None)] for duty in (first, second)] == [[row.domain] for row in rows]
    assert (await second.store.poll(second.types))[1] > 0, "a change is known to both"
    await set_shards(database, 1)
    whole = Duty(pool, ONLY, await _life(pool, 0), [row.type_id for row in rows])
    await whole.claim()
    assert whole.term > first.term
    with pytest.raises(LostDuty):
        await first.take()
    assert await whole.fresh() and await whole.take() == 3, "those of both that no group had, and no other"
    assert [rule.domain for rule in await whole.store.rules(None)] == sorted(row.domain for row in rows)
    assert await pool.fetchval("select count(*) from headrace.alert") == 6
    await whole.fail(1)
    await set_shards(database, 2)
    again = [await Duty(pool, Shard(n, 2), await _life(pool, n), [rows[n].type_id]).claim() for n in range(2)]
    assert [await duty.take() for duty in again] == [1, 0]


async def test_an_alert_stays_until_it_is_in_the_groups_of_its_own_shard(pool: "asyncpg.Pool[Any]") -> None:
    settings = SettingsStore(pool)
    rows = sorted([await settings.add_type(name, "t") for name in ("one", "two")], key=lambda row: row.domain_id % 2)
    first, second = [await Duty(pool, Shard(n, 2), await _life(pool, n), [rows[n].type_id]).claim() for n in range(2)]
    await second.fail(2)
    await first.fail(3)
    await pool.execute("update headrace.alert set at = now() - interval '1000 days'")
    assert await first.take() == 3
    await first.store.trim()
    assert await pool.fetchval("select array_agg(type_id) from headrace.alert") == second.types * 2, "nobody has had them for long"
    assert await second.take() == 2
    await first.store.trim()
    assert await pool.fetchval("select count(*) from headrace.alert") == 0
