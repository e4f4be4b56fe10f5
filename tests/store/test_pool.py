"""Connections of the pool: what they cost when they are given back, and that nobody finds what others left there."""

import asyncio
from typing import Any

import asyncpg
import pytest
from headrace_broker.store.pool import open_pool, open_search_pool, put_right


@pytest.mark.parametrize("make", [open_pool, open_search_pool])
async def test_a_read_is_one_statement_and_no_more(database: str, make: Any) -> None:
    async with await make(database, size=1) as pool:
        pid = await pool.fetchval("select pg_backend_pid()")
        await pool.fetchval("select 42")
        con = await asyncpg.connect(database)
        assert await con.fetchval("select query from pg_stat_activity where pid = $1", pid) == "select 42"
        await con.close()


async def test_what_was_left_open_or_was_changed_is_put_right(database: str) -> None:
    async with await open_pool(database, size=1) as pool:
        before = await pool.fetchval("show statement_timeout")
        pid = await pool.fetchval("select pg_backend_pid()")
        async with pool.acquire() as con:
            await con.execute("begin; create table headrace.left_behind ()")
        assert await pool.fetchval("select to_regclass('headrace.left_behind')") is None
        async with pool.acquire() as con:
            await con.execute("set statement_timeout = '7s'; select pg_advisory_lock(7)")
            await put_right(con)
        assert await pool.fetchval("show statement_timeout") == before
        assert await pool.fetchval("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()") == 0
        assert await pool.fetchval("select pg_backend_pid()") == pid


async def test_a_connection_that_cannot_be_put_right_is_closed(database: str) -> None:
    async with await open_pool(database, size=1) as pool:
        async with pool.acquire() as con:
            pid = await con.fetchval("select pg_backend_pid()")
            busy = asyncio.ensure_future(con.execute("select pg_sleep(60)"))
            await asyncio.sleep(0)
            with pytest.raises(asyncpg.InterfaceError):
                await put_right(con)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                await asyncio.wait_for(busy, 20)
        assert await pool.fetchval("select pg_backend_pid()") != pid
