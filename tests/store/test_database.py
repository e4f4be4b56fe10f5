"""Which server a broker connects to, when there are several or the one that it knew has changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.addresses import each_server
from headrace_broker.store import database as store
from headrace_broker.store.database import Database, Former, Nowhere
from headrace_broker.store.pool import open_pool

from tests.support.processes import until


@pytest.fixture
async def silent(directory: Path) -> AsyncIterator[str]:
    """The host of a server that takes connections and says nothing."""
    (directory / "silent").mkdir()
    open_: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.append(writer)

    server = await asyncio.start_unix_server(accept, directory / "silent" / ".s.PGSQL.5432")
    yield str(directory / "silent")
    server.close()
    for writer in open_:
        writer.transport.abort()


def _after(host: str, dsn: str) -> str:
    """The URL with another host before its own."""
    return dsn.replace("host=", f"host={host},")


async def test_a_frozen_server_is_passed_over_and_the_one_that_answered_comes_first(silent: str, database: str, stack: AsyncExitStack) -> None:
    servers = Database(_after(silent, database))
    con = await servers.connect(timeout=20)
    stack.push_async_callback(con.close)
    assert await con.fetchval("select 1") == 1
    assert servers._servers[0] == each_server(_after(silent, database))[1]


async def test_a_server_that_is_not_there_is_passed_over(directory: Path, database: str, stack: AsyncExitStack) -> None:
    con = await Database(_after(str(directory), database)).connect(timeout=20)
    stack.push_async_callback(con.close)
    assert await con.fetchval("select 1") == 1


async def test_without_any_server_each_says_why(directory: Path) -> None:
    with pytest.raises(Nowhere, match=f"{directory}/a: .*{directory}/b: "):
        await Database(f"postgresql://u@/db?host={directory}/a,{directory}/b").connect()


async def test_a_server_that_takes_no_writes_is_not_used(database: str) -> None:
    name = database.partition("?")[0].rpartition("/")[2]
    con = await asyncpg.connect(database)
    await con.execute(f"alter database {name} set default_transaction_read_only = on")
    try:
        with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
            await Database(database).connect()
        with pytest.raises(Nowhere, match="read-write"):
            await Database(_after("/nowhere", database)).connect()
    finally:
        await con.execute(f"alter database {name} reset default_transaction_read_only")
        await con.close()


async def test_whoever_reaches_another_server_lets_go_of_the_former_one(database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Database(database)
    pool = await open_pool(servers, size=2)
    stack.push_async_callback(pool.close)
    asking = asyncio.ensure_future(pool.fetchval("select pg_sleep(60)"))
    first = await servers.connect()

    async def asked() -> Any:
        return await first.fetchval("select true from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'")

    await until(asked, what="the question")
    _pretend(monkeypatch, "another", 1, 1)
    second = await servers.connect()
    stack.push_async_callback(second.close)
    assert first.is_closed() and not second.is_closed()
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await asking
    assert await pool.fetchval("select 1") == 1, "the pool connects anew"
    assert not second.is_closed()


async def test_a_former_primary_is_passed_over(database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Database(database)
    _pretend(monkeypatch, "new", 1, 7)
    con = await servers.connect()
    stack.push_async_callback(con.close)
    _pretend(monkeypatch, "old", 1, 6)
    with pytest.raises(Former, match="timeline 6; timeline 7"):
        await servers.connect()
    assert not con.is_closed()
    _pretend(monkeypatch, "upgraded", 2, 1)  # another cluster begins at 1
    (await servers.connect()).terminate()


async def test_a_server_tells_its_start_cluster_and_timeline(database: str, stack: AsyncExitStack) -> None:
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    started, cluster, timeline = await store._identity(con)
    assert started == await con.fetchval("select pg_postmaster_start_time()")
    assert cluster > 1 and timeline == 1


def _pretend(monkeypatch: pytest.MonkeyPatch, *identity: object) -> None:
    """Whoever is asked says that of itself."""

    async def said(_: Any) -> tuple[object, ...]:
        return identity

    monkeypatch.setattr(store, "_identity", said)
