"""Migrations may be run twice, at once, or be killed; what was applied must not change."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.ledger import SETTINGS, Ledger
from headrace_broker.store.migrate import LIFE_LOCKS, MigrationError, Phase, load, migrate
from headrace_broker.store.shards import set_shards, shards
from headrace_broker.store.statements import sql

from tests.support.processes import PATIENCE_S, ROOT, run_command, start_broker, until


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


async def test_a_migration_takes_as_long_as_it_takes_whatever_is_set_for_the_database(empty: str) -> None:
    """Providers set such limits for the statements of applications."""
    con = await asyncpg.connect(empty)
    await con.execute("alter database empty set statement_timeout = '1ms'; alter database empty set lock_timeout = '1ms'")
    await con.close()
    assert len(await migrate(empty)) == len(load())
    await set_shards(empty, 2)
    assert len(await shards(empty)) == 2


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
    assert await migrate(empty, directory=directory) == [], "what a newer release adds does not hurt"
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


async def live(dsn: str, schema: int) -> tuple[Any, int]:
    """A connection that begins the life of a broker that knows the migrations up to `schema`, and has not yet its lock; and the life's id."""
    con: Any = await asyncpg.connect(dsn, server_settings=SETTINGS)
    life_id, _ = await con.fetchrow(sql("life_begin"), "old broker", "0.0.9", schema, *[None] * 5, 0, "")
    return con, life_id


def release(directory: Path, *more: tuple[str, str]) -> int:
    """Writes this release's migrations, and further ones (the end of the file's name, text); returns how many there are of this release."""
    own = load()
    for migration in own:
        (directory / f"{migration.version:04}_{migration.name}.sql").write_text(migration.text)
    for number, (name, text) in enumerate(more, len(own) + 1):
        (directory / f"{number:04}_{name}.sql").write_text(text)
    return len(own)


async def test_what_takes_away_waits_until_every_broker_that_needs_it_has_gone(empty: str, directory: Path) -> None:
    await migrate(empty)
    own = release(directory, ("add", "create table headrace.fresh ()"), ("drop.post", "drop table headrace.fresh"))
    old, life_id = await live(empty, own)
    new, _ = await live(empty, own + 2)
    with pytest.raises(MigrationError, match="--phase pre"):
        await migrate(empty, directory=directory, phase=Phase.POST)
    assert [done.name for done in await migrate(empty, directory=directory, phase=Phase.PRE)] == ["add"]
    assert await migrate(empty, directory=directory, phase=Phase.PRE) == []
    with pytest.raises(MigrationError, match=r"old broker \(headrace 0.0.9\)"):
        await migrate(empty, directory=directory, phase=Phase.POST)
    await old.execute("set application_name = 'another'")  # its lock alone says that it lives
    await old.fetchrow(sql("life_lock"), LIFE_LOCKS, life_id)
    with pytest.raises(MigrationError, match=r"old broker \(headrace 0.0.9\)"):
        await migrate(empty, directory=directory, phase=Phase.POST)
    assert "r fresh" in await tables(empty)
    await old.close()
    await until(lambda: gone(empty))
    assert [(done.name, done.phase) for done in await migrate(empty, directory=directory)] == [("drop", Phase.POST)]
    await new.close()
    with pytest.raises(MigrationError, match="older than the database"):
        await migrate(empty)  # this release does not know what was taken away
    with pytest.raises(MigrationError, match="too old for"):
        await Ledger.open(empty, address="test", version="0.0.9")


async def gone(dsn: str) -> bool:
    """No life holds its lock."""
    con: Any = await asyncpg.connect(dsn)
    try:
        return not await con.fetchval("select count(*) from pg_locks where locktype = 'advisory' and objsubid = 2 and classid = $1", LIFE_LOCKS)
    finally:
        await con.close()


async def test_a_life_that_begins_meanwhile_waits_for_what_is_taken_away(empty: str, directory: Path) -> None:
    await migrate(empty)
    own = release(directory, ("drop.post", "select pg_sleep(0.5)"))
    con: Any = await asyncpg.connect(empty)

    async def locked() -> bool:
        return bool(await con.fetchval("select count(*) from pg_locks where relation = 'headrace.life'::regclass and mode = 'ShareRowExclusiveLock'"))

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(migrate(empty, directory=directory))
        await until(locked)
        with pytest.raises(MigrationError, match="too old for"):
            await Ledger.open(empty, address="test", version="0.0.9")
        assert [done.version for done in await running] == [own + 1]
    await con.close()


async def test_a_migration_asks_for_its_locks_again_and_again_and_lets_others_pass(empty: str, directory: Path) -> None:
    await migrate(empty)
    release(directory, ("widen", "alter table headrace.domain add column fresh int"))
    holder: Any = await asyncpg.connect(empty)
    other: Any = await asyncpg.connect(empty, server_settings={"lock_timeout": "5s"})
    async with asyncio.TaskGroup() as tasks:
        async with holder.transaction():
            await holder.execute("lock table headrace.domain in row exclusive mode")
            running = tasks.create_task(migrate(empty, directory=directory))

            async def waits() -> bool:
                return bool(await other.fetchval("select count(*) from pg_locks where not granted and relation = 'headrace.domain'::regclass"))

            await until(waits)
            await other.execute("insert into headrace.domain (name) values ('meanwhile')")  # queued behind it, and let through when its time is over
            assert not running.done()
        assert [done.name for done in await running] == ["widen"]
    await holder.close()
    await other.close()


async def test_run_adds_what_is_missing_or_refuses_where_it_may_not(empty: str) -> None:
    done = await asyncio.to_thread(run_command, "headrace-broker", "run", "--listen", "127.0.0.1:0", "--http-listen", "off", "--database-url", empty, "--migrate", "off")
    assert done.returncode == 1 and "the schema lacks 1 (ledger), 2" in done.stderr and await tables(empty) == []


@pytest.mark.parametrize("standby", [False, True], ids=["owner", "standby"])
async def test_a_broker_that_the_schema_has_left_behind_ends_and_says_why(database: str, directory: Path, stack: AsyncExitStack, standby: bool) -> None:
    """It lost its connection, and what it needs was taken away before it was back."""
    owner = await start_broker(directory, database=database)
    stack.push_async_callback(owner.kill)
    left = await start_broker(directory, database=database, name="standby") if standby else owner
    stack.push_async_callback(left.kill)
    con: Any = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    await con.execute("insert into headrace.migration values (999, 'gone', 'x', '99', now(), 'post')")
    await con.execute("select pg_terminate_backend(l.backend_pid) from headrace.life l where l.address like $1 and not l.dead", f"% pid {left.pid} %")
    async with asyncio.timeout(PATIENCE_S):
        assert await left.process.wait() == 1
    assert "the database was migrated to a schema that this broker is too old for: run a newer headrace" in left.log.read_text()
    assert standby is (owner.process.returncode is None)
    await con.execute("delete from headrace.migration where version = 999")
