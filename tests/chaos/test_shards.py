"""Three brokers own six shards under load of eight domains: one is stopped, one killed, one frozen, and each comes back.

Shards are spread evenly after each of these, nothing is lost, and nothing runs twice.
"""

import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from tests.support.processes import until
from tests.support.spread import SHARDS, Cluster, three

SILENT_S = 120.0
"""A client whose broker is frozen finds that out after half a minute, by the keepalive of its connection; here all clients are at that one."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


async def test_brokers_are_stopped_killed_and_frozen_and_come_back(
    database: str, directory: Path, stack: AsyncExitStack, record_property: Callable[[str, object], None]
) -> None:
    cluster = await three(directory, database, stack)
    async with cluster.load():
        await cluster.goes_on()
        assert await cluster.at(0).stop() == 0
        await _without(cluster, 0)
        await cluster.at(1).kill()
        await _without(cluster, 1)
        frozen = cluster.at(2)
        frozen.signal(signal.SIGSTOP)
        await cluster.evenly(0, 1)
        await cluster.goes_on(SILENT_S)
        frozen.signal(signal.SIGCONT)
        await cluster.evenly(0, 1, 2)
        await cluster.goes_on()
        moves = await _moves(cluster)
        await cluster.goes_on()
        assert await _moves(cluster) == moves, "shards rest"
    record_property("jobs", await cluster.judge())
    record_property("kills", 1)


async def _without(cluster: Cluster, place: int) -> None:
    """The others share what it owned; it comes back, and is given its part."""
    others = [other for other in range(3) if other != place]
    await cluster.evenly(*others)
    await cluster.goes_on()
    await cluster.start(place)
    await cluster.evenly(0, 1, 2)
    await cluster.goes_on()


async def _moves(cluster: Cluster) -> list[int]:
    """The owner's life of each shard."""
    con = await asyncpg.connect(cluster.database)
    try:

        async def owned() -> list[int]:
            rows = await con.fetch("select life_id from headrace.shard where life_id is not null order by shard")
            return [row["life_id"] for row in rows] if len(rows) == SHARDS else []

        found: list[int] = await until(owned, what="an owner of each shard")
        return found
    finally:
        await con.close()
