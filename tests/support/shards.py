"""Queues with several shards, and owners of them in this process."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
from headrace_broker.metrics import Metrics
from headrace_broker.model.shard import Shard
from headrace_broker.rpc.doors import DoorReader
from headrace_broker.shards.owner import OwnerLimits
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.types import TypeTable
from headrace_broker.store import shards
from headrace_broker.store.pool import open_pool
from headrace_broker.store.settings import SettingsStore


async def set_shards(database: str, number: int) -> None:
    """Makes a queue one of so many shards; no broker runs."""
    await shards.set_shards(database, number)


async def make_domains(database: str, *names: str) -> dict[int, str]:
    """Makes the queue one of as many shards as there are names, and a domain of each name: their names, by the shard in which they lie."""
    await set_shards(database, len(names))
    con = await asyncpg.connect(database)
    try:
        made = {name: await con.fetchval("insert into headrace.domain (name) values ($1) returning domain_id", name) for name in names}
    finally:
        await con.close()
    return {domain_id % len(names): name for name, domain_id in made.items()}


async def run_owner(database: str, shard: Shard, stack: AsyncExitStack, *, stands_by: bool = False) -> Ownership:
    """A broker's part in a shard, which serves, or stands by, and takes what comes through the SQL doors; until the stack ends."""
    pool = await open_pool(database, size=4)
    stack.push_async_callback(pool.close)
    limits = OwnerLimits(30.0, 1.0, 1.0, 5.0, 1 << 20, 1 << 20)
    types = TypeTable(SettingsStore(pool))
    ownership = Ownership(dsn=database, pool=pool, types=types, limits=limits, metrics=Metrics(), address=str(shard), version="0", shard=shard, broker="test")
    ownership.reader = DoorReader(1 << 20)
    running = asyncio.create_task(ownership.run())

    async def end() -> None:
        await ownership.drain()
        async with asyncio.timeout(30):
            await running

    stack.push_async_callback(end)
    async with asyncio.timeout(30):
        await (ownership.listening if stands_by else ownership.ready).wait()
    return ownership
