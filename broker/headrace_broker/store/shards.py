"""The shards: how many there are."""

from typing import Any

import asyncpg

from headrace_broker.store.statements import sql


async def shard_count(pool: "asyncpg.Pool[Any]") -> int:
    """How many shards the queue has."""
    return int(await pool.fetchval(sql("shard_count")))
