"""Gives each range of log lines that is written no more an index for searches by text, where the server has pg_trgm. Everything works without, slower."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace_broker.model.ids import lowest_id_at
from headrace_broker.store.log_index import LogIndexes

SEALED_S = 3600.0
"""A range is taken to be written this long after its last id was made: most jobs have ended by then."""


@dataclass
class IndexLogs:
    """`now` is the database's clock in seconds since 1970."""

    store: LogIndexes
    now: Callable[[], float]

    async def run_once(self) -> dict[str, int]:
        """One pass; returns how many ranges got their index. Builds one after the other: each reads its whole range, and takes about a core meanwhile."""
        schema = await self.store.trigrams()
        if schema is None:
            return {}
        built = 0
        for leaf in await self.store.missing(lowest_id_at(self.now() - SEALED_S)):
            built += await self.store.build(leaf, schema)
        return {"log ranges indexed": built} if built else {}
