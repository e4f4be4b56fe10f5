"""Three brokers that own six shards: one is killed under load, its shards are spread over the others, and each job of eight domains runs once. Long form: tests/chaos."""

from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.spread import three


async def test_the_shards_of_a_broker_that_is_killed_are_spread_over_the_others(database: str, directory: Path, stack: AsyncExitStack) -> None:
    cluster = await three(directory, database, stack)
    async with cluster.load():
        await cluster.goes_on()
        await cluster.at(1).kill()
        await cluster.evenly(0, 2)
        await cluster.goes_on()
    assert await cluster.judge() > 40
