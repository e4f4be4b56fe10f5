"""Queues with several shards."""

import asyncpg


async def set_shards(database: str, number: int) -> None:
    """Makes a new database one of so many shards, before its first broker."""
    con = await asyncpg.connect(database)
    try:
        async with con.transaction():
            await con.execute("delete from headrace.shard")
            await con.execute("insert into headrace.shard (shard) select generate_series(0, $1 - 1)", number)
    finally:
        await con.close()
