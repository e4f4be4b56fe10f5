"""Queues with several shards."""

import asyncpg


async def set_shards(database: str, number: int) -> None:
    """Makes a new database one of so many shards, before its first broker."""
    con = await asyncpg.connect(database)
    try:
        await con.execute("select headrace.set_shards($1)", number)
    finally:
        await con.close()
