"""Which broker processes there are, as the database knows it from their lives and locks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.balance import Standing
from headrace_broker.store.migrate import LIFE_LOCKS
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class BrokerRow:
    """One that is connected. `life_id` and `started_at` are those of its oldest life; `endpoint` and `web` are empty where it does not say them."""

    life_id: int
    address: str
    version: str
    started_at: datetime
    endpoint: str
    web: str
    shards: tuple[int, ...]


AWAKE_S = 3.0
"""A broker that has not said for so long that it is awake is given no shard."""


class BrokerStore:
    """Statements of a pool."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def all(self) -> list[BrokerRow]:
        """The oldest life first. Raises what asyncpg raises."""
        found: dict[str | int, BrokerRow] = {}
        for key, life_id, address, version, started_at, endpoint, web, owned in await self._pool.fetch(sql("brokers_list"), LIFE_LOCKS):
            row = found.setdefault(key or life_id, BrokerRow(life_id, address, version, started_at, endpoint, web, ()))
            if owned is not None:
                found[key or life_id] = replace(row, shards=tuple(sorted((*row.shards, owned))))
        return list(found.values())

    async def beat(self, broker: str, avoids: Sequence[int]) -> None:
        """Says that a broker is awake, and which shards it is not to be given. Raises what asyncpg raises."""
        await self._pool.execute(sql("broker_beat"), broker, avoids)

    async def trim_lives(self, age_s: float, rows: int) -> int:
        """Forgets lives that began longer ago, have ended, and that nothing needs any more, at most so many; returns how many. Raises what asyncpg raises."""
        return int(await self._pool.fetchval(sql("life_trim"), LIFE_LOCKS, age_s, rows))

    async def standing(self, of: int) -> Standing:
        """Who owns each of `of` shards, and who stands by for it; who avoids it does not count as one of these. Raises what asyncpg raises."""
        owners: dict[int, str] = {}
        waiting: dict[int, set[str]] = {}
        for row in await self._pool.fetch(sql("shards_now"), LIFE_LOCKS, AWAKE_S):
            if row["owns"]:
                owners[row["shard"]] = row["broker"]
            elif row["awake"]:
                waiting.setdefault(row["shard"], set()).add(row["broker"])
        return Standing(owners, {shard: frozenset(brokers) for shard, brokers in waiting.items()}, of)
