"""The shards of a queue: how many there are, who owns each, and how their number is changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.store.database import Database
from headrace_broker.store.migrate import LIFE_LOCKS, SETTINGS, MigrationError
from headrace_broker.store.statements import sql

TIMEOUT_S = 600.0


class BrokersRun(Exception):
    """The number of shards cannot be changed now: brokers are connected."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A shard. `domains`: names, sorted; `since` None: nobody owns it, and `address` is empty."""

    shard: int
    domains: list[str]
    address: str
    since: datetime | None


async def shard_count(pool: "asyncpg.Pool[Any]") -> int:
    """How many shards the queue has."""
    return int(await pool.fetchval(sql("shard_count")))


async def shards(dsn: str | Database) -> list[ShardRow]:
    """All shards by number. Raises MigrationError when the schema is not this version's, and what asyncpg raises."""
    async with _connected(dsn) as con:
        return [ShardRow(*row) for row in await con.fetch(sql("shard_list"), LIFE_LOCKS)]


async def set_shards(dsn: str | Database, number: int, *, dry_run: bool = False) -> None:
    """Makes the queue one of so many shards; no broker can begin meanwhile. `dry_run`: everything is undone at the end.

    Raises:
        BrokersRun: who runs. MigrationError: the schema is not this version's. What asyncpg raises: with the reason when the schema does not allow
            for several shards yet.
    """
    async with _connected(dsn) as con:
        changing = con.transaction()
        await changing.start()
        try:
            await con.execute(sql("life_hold"))
            running = sorted({row["address"] for row in await con.fetch(sql("brokers_list"), LIFE_LOCKS)})
            if running:
                raise BrokersRun(f"the number of shards cannot be changed while brokers run: stop {'; '.join(running)}")
            await con.execute(sql("inbox_settled"))  # each of the new shards may read all of it anew
            await con.execute(sql("shards_set"), number)
        except BaseException:
            await changing.rollback()
            raise
        await (changing.rollback() if dry_run else changing.commit())


@asynccontextmanager
async def _connected(dsn: str | Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    con = await Database.of(dsn).connect(timeout=5, command_timeout=TIMEOUT_S, server_settings={**SETTINGS, "application_name": "headrace shards"})
    try:
        yield con
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError) as error:
        raise MigrationError(f"the database has not the schema of this version: run headrace-broker migrate ({error})") from error
    finally:
        await con.close()
