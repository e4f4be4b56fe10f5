"""The shards of a queue: how many there are, who owns each, and how their number is changed, which is done while no broker runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.shard import MOST
from headrace_broker.store.database import Database
from headrace_broker.store.migrate import LIFE_LOCKS
from headrace_broker.store.statements import sql

ANY_SCHEMA = (1 << 31) - 1


class ShardsRefused(Exception):
    """The number of shards is not changed; the text says why."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One shard: how many domains lie in it, and which broker owns it since when; empty and None: none that runs."""

    number: int
    domains: int
    owner: str
    since: datetime | None


async def shard_count(pool: "asyncpg.Pool[Any]") -> int:
    """How many shards the queue has."""
    return int(await pool.fetchval(sql("shard_count")))


async def shards(dsn: str) -> list[ShardRow]:
    """All shards, by number. Raises what asyncpg raises."""
    async with _connected(dsn) as con:
        return await _all(con)


async def set_shards(dsn: str, number: int, *, dry_run: bool = False) -> list[ShardRow]:
    """Makes the queue one of so many shards; returns how it is then. `dry_run`: nothing is changed. All of it happens or nothing, whoever dies.

    Raises:
        ShardsRefused: brokers run, or the number is not one. What asyncpg raises.
    """
    if not 1 <= number <= MOST:
        raise ShardsRefused(f"a queue has 1 to {MOST} shards, found {number}")
    async with _connected(dsn) as con:
        transaction = con.transaction()
        await transaction.start()
        try:
            await con.execute(sql("migration_lock_lives"))
            running = await con.fetch(sql("migration_old_lives"), LIFE_LOCKS, ANY_SCHEMA)
            if running:
                who = ", ".join(dict.fromkeys(row["address"] for row in running))
                raise ShardsRefused(f"brokers run: {who}; stop all of them, and run it again")
            await con.execute(sql("shards_set"), number)
            found = await _all(con)
        except BaseException:
            await transaction.rollback()
            raise
        await (transaction.rollback() if dry_run else transaction.commit())
        return found


async def _all(con: "asyncpg.Connection[Any]") -> list[ShardRow]:
    return [ShardRow(row["shard"], row["domains"], row["address"] or "", row["since"]) for row in await con.fetch(sql("shards_list"), LIFE_LOCKS)]


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    con = await Database.of(dsn).connect(timeout=10, server_settings={"application_name": "headrace shards", "lock_timeout": "5s"})
    try:
        yield con
    finally:
        await con.close(timeout=5)
