"""Migrations may be run twice, at once, or be killed; what was applied must not change."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.migrate import MigrationError, load, migrate

from tests.support.processes import ROOT, run_command, until


@pytest.fixture
async def empty(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The DSN of an empty database."""
    con = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
    await con.execute("create database empty")
    yield postgres.dsn.replace("/headrace?", "/empty?")
    await con.execute("drop database empty with (force)")
    await con.close()


async def tables(dsn: str) -> list[str]:
    """Tables of the schema and what was recorded, in order."""
    con = await asyncpg.connect(dsn)
    try:
        rows = await con.fetch("select relname, relkind::text from pg_class where relnamespace = to_regnamespace('headrace') order by 1, 2")
        return [f"{row['relkind']} {row['relname']}" for row in rows]
    finally:
        await con.close()


async def test_many_at_once_apply_each_migration_once(empty: str) -> None:
    applied = await asyncio.gather(*(migrate(empty) for _ in range(8)))
    assert sorted(len(done) for done in applied) == [0] * 7 + [len(load())]
    assert await migrate(empty) == []
    assert "p job" in await tables(empty)


async def test_a_dry_run_changes_nothing(empty: str) -> None:
    assert len(await migrate(empty, dry_run=True)) == len(load())
    assert await tables(empty) == []


async def test_a_changed_or_unknown_migration_is_refused(empty: str, directory: Path) -> None:
    def write(number: int, text: str) -> None:
        (directory / f"{number:04}_step.sql").write_text(text)

    write(1, "create table headrace.a ()")
    write(2, "create table headrace.b ()")
    await migrate(empty, directory=directory)
    write(2, "create table headrace.c ()")
    with pytest.raises(MigrationError, match=r"2 .* was changed after it was applied"):
        await migrate(empty, directory=directory)
    (directory / "0002_step.sql").unlink()
    with pytest.raises(MigrationError, match="older than the database"):
        await migrate(empty, directory=directory)
    write(4, "select 1")
    with pytest.raises(MigrationError, match="numbered 1, 2, 3"):
        load(directory)


async def test_a_migration_that_fails_leaves_nothing_of_itself(empty: str, directory: Path) -> None:
    (directory / "0001_good.sql").write_text("create table headrace.a ()")
    (directory / "0002_bad.sql").write_text("create table headrace.b (); select 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty, directory=directory)
    assert "r a" in await tables(empty) and "r b" not in await tables(empty)
    (directory / "0002_bad.sql").write_text("create table headrace.b ()")
    assert [done.name for done in await migrate(empty, directory=directory)] == ["bad"]


async def test_a_killed_run_is_finished_by_the_next(empty: str, directory: Path) -> None:
    (directory / "0001_first.sql").write_text("create table headrace.a ()")
    (directory / "0002_slow.sql").write_text("create table headrace.b (); select pg_sleep(60)")
    code = "import asyncio, sys, pathlib; from headrace_broker.store.migrate import migrate; asyncio.run(migrate(sys.argv[1], directory=pathlib.Path(sys.argv[2])))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, empty, str(directory), cwd=ROOT)
    con: Any = await asyncpg.connect(empty)

    async def sleeps() -> bool:
        return bool(await con.fetchval("select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and wait_event = 'PgSleep' and datname = 'empty'"))

    await until(sleeps)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await con.execute("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep' and datname = 'empty'")  # as its keepalives would
    await con.close()
    (directory / "0002_slow.sql").write_text("create table headrace.b ()")
    assert [done.name for done in await migrate(empty, directory=directory)] == ["slow"]


async def test_the_command_lists_applies_and_prints(empty: str) -> None:
    async def run(*words: str) -> str:
        done = await asyncio.to_thread(lambda: run_command("headrace-broker", "migrate", "--database-url", empty, *words))
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert (await run("--dry-run")).startswith("missing 0001")
    assert "create table headrace.event" in await run("--print")
    assert (await run()).startswith("applied 0001")
    assert await run() == "up to date\n"
