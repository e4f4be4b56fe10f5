"""What a search is told that has no turn: that others have them all and for how long, or that the database lets nobody in."""

import asyncio
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.filter import JobFilter, Source
from headrace_broker.store import search
from headrace_broker.store.pool import open_search_pool
from headrace_broker.store.search import Finder, NoTurn, Silent

from tests.support.processes import until

SLOW = "select pg_sleep(20)"


async def test_others_have_all_turns_until_they_have_had_them_for_too_long(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = await open_search_pool(database, size=1)
    finder = Finder(pool)
    other = asyncio.ensure_future(finder._fetch(15.0, SLOW))

    async def under_way() -> bool:
        return bool(finder._begun)

    await until(under_way, what="the other search")
    with pytest.raises(NoTurn) as told:
        await finder.first_id(timeout_s=0.1)
    assert 0.09 < told.value.longest_s < 15
    monkeypatch.setattr(search, "SILENT_S", 0.05)
    with pytest.raises(Silent):
        await finder.first_id(timeout_s=0.1)
    other.cancel()
    await asyncio.wait([other])
    assert await finder.first_id(timeout_s=10) == 0 and not finder._begun
    await pool.close()


async def test_who_gives_up_while_the_connection_is_given_back_has_had_its_turn(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stood there for good would make each search that finds no turn blame the database."""
    pool = await open_search_pool(database, size=1)
    finder, release = Finder(pool), asyncpg.Pool.release

    async def given_up(of: "asyncpg.Pool[Any]", con: Any) -> None:
        seeking.cancel()
        await release(of, con)

    monkeypatch.setattr(asyncpg.Pool, "release", given_up)
    seeking = asyncio.ensure_future(finder.first_id(timeout_s=10))
    await asyncio.wait([seeking])
    assert seeking.cancelled() and not finder._begun
    await pool.close()


async def test_a_database_that_lets_nobody_in_is_not_others_searches() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = await open_search_pool(f"postgresql://nobody@127.0.0.1:{port}/none?sslmode=disable")
    with pytest.raises(Silent):
        await Finder(pool).candidates(Source.RARE, search.query(JobFilter(), [1], None, 0.0), 0, 1, rows=1, oldest_first=False, timeout_s=0.2)
    pool.terminate()
    server.close()
