"""Postgres has no room, no connection to spare, or keeps its tables locked: callers are told, nothing acknowledged is lost, and work goes on by itself afterwards."""

import asyncio
import contextlib
import functools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support import needs
from tests.support.disks import small_disk
from tests.support.processes import pause, until
from tests.support.scene import at_work
from tests.support.servers import server

pytestmark = pytest.mark.long
Record = Callable[[str, object], None]
LOCKED_S = 30.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["tables", "log"])
def test_a_full_disk(what: str, directory: Path, record_property: Record) -> None:
    """Where only tables have no room, statements are refused; where the write-ahead log has none, Postgres ends itself, and starts again only when there is room."""
    needs.small_disks()
    settings = {"max_wal_size": "64MB", "min_wal_size": "32MB", "wal_recycle": "off"}
    with small_disk(directory, 300) as disk, server((disk.place if what == "tables" else directory) / "data", None, **settings) as postgres:
        postgres.stop()
        log, elsewhere = postgres.data_dir / "pg" / "pg_wal", (directory if what == "tables" else disk.place) / "pg_wal"
        subprocess.run(["cp", "-a", log, elsewhere], check=True)  # with its owner
        shutil.rmtree(log)
        log.symlink_to(elsewhere)
        postgres.start()

        async def run() -> None:
            async with at_work(directory, postgres.dsn) as scene:
                for _ in range(2):
                    disk.fill(leave_bytes=300_000)
                    if what == "log":
                        await _fill_segment(postgres.dsn)
                    await scene.refused(20, timeout_s=90)
                    disk.empty()

                    async def up() -> bool:
                        postgres.ensure_running()
                        with contextlib.suppress(OSError, asyncpg.PostgresError):
                            con = await asyncpg.connect(postgres.dsn)
                            await con.close()
                            return True
                        return False

                    await until(up, what="Postgres")
                    await scene.acknowledged(100)
                verdict = await scene.end(postgres.dsn, f"no room for the {what}")
                record_property("jobs", verdict.jobs)
                assert what == "log" or "refuses to store facts: DiskFullError" in " ".join(scene.reasons), scene.reasons

        asyncio.run(run())


async def _fill_segment(dsn: str) -> None:
    """The log goes on in a new file, for which there is no room."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        con = await asyncpg.connect(dsn)
        while True:
            await con.execute("select pg_switch_wal()")
            await pause()


class Hogs:
    """Others who take every connection that they get."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._taken: list[asyncpg.Connection[Any]] = []
        self._task: asyncio.Task[None] | None = None
        self.full = asyncio.Event()

    async def _take(self) -> None:
        while True:
            try:
                self._taken.append(await asyncpg.connect(self._dsn))
            except (asyncpg.PostgresError, OSError):
                self.full.set()
                await pause()

    async def start(self) -> None:
        """Takes them all."""
        self._task = asyncio.ensure_future(self._take())
        await self.full.wait()

    async def end_the_broker(self) -> None:
        """Ends all connections of the broker, if it has any; the hogs are mostly faster than it to take their places."""
        await self._taken[0].execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'headrace%'")

    async def close(self) -> None:
        """Gives them back."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for con in self._taken:
            con.terminate()


@pytest.mark.timeout(240)
async def test_no_connection_is_left(database: str, directory: Path, record_property: Record) -> None:
    async with at_work(directory, database) as scene:
        for _ in range(3):
            hogs = Hogs(database)
            await hogs.start()
            await scene.acknowledged(50)  # who has its connections goes on
            refused = scene.look()["none"] + scene.told["unknown"]
            while scene.look()["none"] + scene.told["unknown"] < refused + 10:  # the broker may be faster now and then
                await hogs.end_the_broker()
                await pause()
            await hogs.close()
            await scene.acknowledged(100)
        verdict = await scene.end(database, "no connection left")
        record_property("jobs", verdict.jobs)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["leaf of job", "leaf of event", "job", "event", "inbox"])
async def test_a_locked_table(what: str, database: str, directory: Path, record_property: Record) -> None:
    """ACCESS EXCLUSIVE for 30 s, by somebody's migration or vacuum full. The lease is longer, as it must be where that may happen: what runs is not run again."""
    con = await asyncpg.connect(database)
    async with at_work(directory, database, "--lease-s", "60") as scene:
        table = f"headrace.{what}"
        if what.startswith("leaf"):
            find = f"select tableoid::regclass::text from headrace.{what.split()[-1]} order by job_id desc limit 1"
            table = await until(functools.partial(con.fetchval, find), what="a row")
        async with con.transaction():
            await con.execute(f"lock table {table} in access exclusive mode")
            healing = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(LOCKED_S, healing.set_result, None)
            if what == "inbox":
                await scene.acknowledged(100, timeout_s=20)  # only the doors wait
            else:
                await scene.refused(10)
            await healing
        await scene.acknowledged(100)
        verdict = await scene.end(database, f"{table} locked for {LOCKED_S:g} s")
        record_property("jobs", verdict.jobs)
        assert set(verdict.again) <= {"after a failure"}, "a lock is no reason to run a job again"
    await con.close()
