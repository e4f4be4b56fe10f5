"""Trigram indexes on the log lines of ranges that are written no more, so that a text is found in them without reading them all.

An index on the range that is being written would make each insert several times as dear, so a range gets its index when it has surely been written: without a lock that
writers wait for, one range at a time. Lines that come even later go into the index one by one. A build that was interrupted leaves an index that is marked as broken: the
next pass removes it and begins again. Each build holds an advisory lock, so that two brokers never build the same index.
"""

from typing import Any

import asyncpg

from headrace_broker.store.pool import put_right
from headrace_broker.store.statements import sql

LONGEST_S = 7200
LOCK = 8_020_113
"""Key of the advisory lock of builds."""


class LogIndexes:
    """Statements of their own connections, taken from the pool for each build."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def trigrams(self) -> str | None:
        """The schema of pg_trgm, which is made if the server has it and this user may; None: there is none. Raises InsufficientPrivilegeError when it may not."""
        schema = await self._pool.fetchval(sql("trgm_schema"))
        if schema is None and await self._pool.fetchval(sql("trgm_available")):
            await self._pool.execute(sql("trgm_create"))
            schema = await self._pool.fetchval(sql("trgm_schema"))
        return None if schema is None else str(schema)

    async def missing(self, sealed_below: int) -> list[str]:
        """Leaves of log lines of ranges that end at or below an id, and that have no index or a broken one; the newest first."""
        return [row["leaf"] for row in await self._pool.fetch(sql("log_leaves_unindexed"), sealed_below)]

    async def build(self, leaf: str, schema: str) -> bool:
        """Makes the index of one leaf; False: somebody else is at it, or was and has made it. Takes as long as it takes.

        Cancellation: what was begun is marked as broken, and removed by the next call for the leaf.
        """
        async with self._pool.acquire() as con:
            if not await con.fetchval(sql("log_index_lock"), LOCK):
                return False
            try:
                if await con.fetchval(sql("log_index_made"), f"{leaf}_trgm"):  # by somebody else, since it was found to be missing
                    return False
                await con.execute(f"set statement_timeout = '{LONGEST_S}s'; set maintenance_work_mem = '64MB'")
                await con.execute(f"drop index concurrently if exists headrace.{leaf}_trgm", timeout=LONGEST_S + 60)
                await con.execute(f"create index concurrently {leaf}_trgm on headrace.{leaf} using gin (text {schema}.gin_trgm_ops)", timeout=LONGEST_S + 60)
            finally:
                await put_right(con)  # settings and lock
        return True
