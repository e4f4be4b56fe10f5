"""Which broker processes there are, as the database knows it from their lives and locks."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.store.migrate import LIFE_LOCKS
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class BrokerRow:
    """One that is connected. `endpoint` and `web` are empty where it does not say them; `active`: it owns the queue."""

    life_id: int
    address: str
    version: str
    started_at: datetime
    endpoint: str
    web: str
    active: bool


class BrokerStore:
    """Statements of a pool."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def all(self) -> list[BrokerRow]:
        """The oldest life first. Raises what asyncpg raises."""
        return [BrokerRow(*row) for row in await self._pool.fetch(sql("brokers_list"), LIFE_LOCKS)]
