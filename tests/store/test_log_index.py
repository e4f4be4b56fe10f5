"""Trigram indexes on sealed ranges of log lines: which get one, what an interrupted build leaves, and that searches use them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from headrace_broker.maintenance.index_logs import SEALED_S, IndexLogs
from headrace_broker.model.ids import DEFAULT_CLASS, EPOCH_S, MS_SHIFT, lowest_id_at
from headrace_broker.store import log_index
from headrace_broker.store.log_index import LOCK, LogIndexes
from headrace_broker.store.pool import open_pool
from headrace_broker.store.statements import sql

from tests.support.processes import until

FIRST, SECOND, END = lowest_id_at(1_750_000_000), lowest_id_at(1_750_086_400), lowest_id_at(1_750_172_800)
INDEXES = "select relname, indisvalid from pg_index join pg_class on oid = indexrelid where relname like '%\\_trgm' order by relname"


@pytest.fixture
async def con(database: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A database with two ranges of log lines."""
    con = await asyncpg.connect(database)
    for low, high, suffix in ((FIRST, SECOND, "a"), (SECOND, END, "b")):
        await con.fetchval("select headrace.open_range($1, $2, $3, $4)", DEFAULT_CLASS, low, high, suffix)
        await con.execute(
            "insert into headrace.log_line (job_id, at, lease_epoch, line_no, level, text)"
            " select $1::bigint + (i << 20) + $2, now(), 1, 1, 2, 'line ' || md5(i::text) from generate_series(1, 20000::bigint) i",
            low, DEFAULT_CLASS,
        )  # fmt: skip
    yield con
    await con.execute("truncate headrace.log_line")
    await con.close()


@pytest.fixture
async def pool(database: str) -> AsyncIterator["asyncpg.Pool[Any]"]:
    pool = await open_pool(database, size=2)
    yield pool
    await pool.close()


def duty(pool: "asyncpg.Pool[Any]", sealed_end: int) -> IndexLogs:
    """At the moment when ranges that end at this id have just been sealed."""
    return IndexLogs(LogIndexes(pool), lambda: (sealed_end >> MS_SHIFT) / 1000 + EPOCH_S + SEALED_S)


async def indexes(con: "asyncpg.Connection[Any]") -> dict[str, bool]:
    return {row["relname"]: row["indisvalid"] for row in await con.fetch(INDEXES)}


async def test_sealed_ranges_get_an_index_and_the_one_being_written_does_not(con: "asyncpg.Connection[Any]", pool: "asyncpg.Pool[Any]") -> None:
    assert await duty(pool, FIRST).run_once() == {}
    assert await duty(pool, SECOND).run_once() == {"log ranges indexed": 1}
    assert await indexes(con) == {"log_line_2_a_trgm": True}
    assert await duty(pool, SECOND).run_once() == {}
    assert await duty(pool, END).run_once() == {"log ranges indexed": 1}
    assert await con.fetchval(sql("log_index_lock"), LOCK), "it is given back with the connection"
    await con.execute("analyze headrace.log_line")
    await con.execute("set plan_cache_mode = force_custom_plan")
    plan = json.loads(await con.fetchval(f"explain (analyze, format json) {sql('search_logs')}", 0, END, "%c4ca4238a0b923820dcc509a6f75849b%", -1, 2000))
    assert "log_line_2_a_trgm" in json.dumps(plan) and "Seq Scan" not in json.dumps(plan)


async def test_an_interrupted_build_is_begun_again_and_blocks_nobody(con: "asyncpg.Connection[Any]", pool: "asyncpg.Pool[Any]", database: str) -> None:
    writer = await asyncpg.connect(database)
    lock = writer.transaction()
    await lock.start()
    await writer.execute("lock table headrace.log_line_2_a in row exclusive mode")  # a writer whose transaction is open: the build waits for it
    building = asyncio.ensure_future(duty(pool, SECOND).run_once())
    waiting = "select pid from pg_stat_activity where query like 'create index concurrently%' and wait_event_type = 'Lock'"

    async def waits() -> Any:
        return await con.fetchval(waiting)

    pid = await until(waits, what="the build's wait")
    async with asyncio.timeout(20):
        await con.execute(
            "insert into headrace.log_line (job_id, at, lease_epoch, line_no, level, text) values ($1, now(), 1, 2, 2, 'meanwhile')", FIRST + (1 << 20) + DEFAULT_CLASS
        )
    await con.fetchval("select pg_cancel_backend($1)", pid)
    with pytest.raises(asyncpg.QueryCanceledError):
        await building
    await lock.commit()
    await writer.close()
    assert await indexes(con) == {"log_line_2_a_trgm": False}
    assert await duty(pool, SECOND).run_once() == {"log ranges indexed": 1}
    assert await indexes(con) == {"log_line_2_a_trgm": True}


async def test_two_brokers_do_not_build_at_once(con: "asyncpg.Connection[Any]", pool: "asyncpg.Pool[Any]") -> None:
    await con.fetchval(sql("log_index_lock"), LOCK)
    assert await duty(pool, SECOND).run_once() == {} and await indexes(con) == {}
    await con.fetchval("select pg_advisory_unlock_all()")
    assert await duty(pool, SECOND).run_once() == {"log ranges indexed": 1}


async def test_a_range_that_another_broker_has_indexed_meanwhile_keeps_its_index(con: "asyncpg.Connection[Any]", pool: "asyncpg.Pool[Any]") -> None:
    """Both have found it without one: that of the first is not removed and built again, while searches would read all lines."""
    first, second = LogIndexes(pool), LogIndexes(pool)
    schema = await first.trigrams()
    assert schema is not None
    [leaf], [same] = await first.missing(SECOND), await second.missing(SECOND)
    assert await first.build(leaf, schema)
    made = await con.fetchval("select to_regclass($1::text)::oid", f"headrace.{leaf}_trgm")
    assert not await second.build(same, schema)
    assert await con.fetchval("select to_regclass($1::text)::oid", f"headrace.{leaf}_trgm") == made
    assert await con.fetchval(sql("log_index_lock"), LOCK), "it is given back"


async def test_a_server_without_the_extension_is_left_alone(con: "asyncpg.Connection[Any]", pool: "asyncpg.Pool[Any]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_index, "sql", lambda name: "select false" if name == "trgm_available" else sql(name))
    assert await duty(pool, END).run_once() == {} and await indexes(con) == {}
