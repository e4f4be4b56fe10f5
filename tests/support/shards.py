"""Queues with several shards."""

from headrace_broker.store import shards


async def set_shards(database: str, number: int) -> None:
    """Makes a queue one of so many shards; no broker runs."""
    await shards.set_shards(database, number)
