"""The power of the machine that Postgres runs on is cut: what was acknowledged is there when it is back.

Postgres keeps its data on an ext4 of its own, whose power is cut in the middle of the load: the file system takes no write any more, whatever the kernel had not
written is dropped, Postgres is killed, the journal is read, and Postgres recovers. With `synchronous_commit = off`, which tells before it has synced, acknowledged jobs
must be missing: else this test would show nothing.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from tests.support import needs
from tests.support.disks import PowerDisk, power_disk
from tests.support.processes import children
from tests.support.record import Reader
from tests.support.scene import at_work
from tests.support.servers import Server, server

CUTS = 3


def cut(disk: PowerDisk, postgres: Server) -> None:
    """Power off, power on."""
    disk.cut_power()
    for pid in [*children(postgres.pid), postgres.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_new_cluster_outlives_a_power_cut(directory: Path) -> None:
    needs.ext4_disks()
    with power_disk(directory, 200) as disk:
        postgres = Server(disk.place / "data")
        postgres.start()
        cut(disk, postgres)
        postgres.stop()
        _unmount(disk)
        disk.mount()
        postgres.start()
        postgres.stop()


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("synced", [True, False], ids=["synchronous_commit", "control-without"])
def test_a_power_cut(synced: bool, directory: Path, record_property: Callable[[str, object], None]) -> None:
    needs.ext4_disks()
    settings: dict[str, str] = {"max_wal_size": "128MB", "min_wal_size": "32MB"} | ({} if synced else {"synchronous_commit": "off", "wal_writer_delay": "10000"})
    with power_disk(directory, 700) as disk, server(disk.place / "data", None, **settings) as postgres:

        async def run() -> int:
            lost = 0
            async with at_work(directory, postgres.dsn) as scene:
                for _ in range(CUTS):
                    await scene.acknowledged(150)
                    cut(disk, postgres)
                    postgres.stop()
                    _unmount(disk)
                    disk.mount()
                    postgres.start()
                    if not synced:
                        lost += await _lost(postgres.dsn, directory)
                        if lost:
                            return lost
                    await scene.acknowledged(50)
                if synced:
                    verdict = await scene.end(postgres.dsn, f"{CUTS} power cuts")
                    record_property("jobs", verdict.jobs)
                    record_property("kills", CUTS)
                    record_property("kills in flight", CUTS)
            return lost

        lost = asyncio.run(run())
        if not synced:
            print(f"\npower cut with synchronous_commit off: {lost} acknowledged jobs are missing, as they must be")
            assert lost, "nothing was lost although nothing was synced: this way of cutting the power shows nothing"


def _unmount(disk: PowerDisk) -> None:
    """Once all who use it have ended: processes that were killed have, a moment later."""
    end = time.monotonic() + 20
    while True:
        try:
            disk.unmount()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


async def _lost(dsn: str, directory: Path) -> int:
    """Acknowledged jobs that are not stored."""
    told = {int(words[2]) for words in Reader(directory / "submitted.txt").read() if words[0] == "got"}
    con = await asyncpg.connect(dsn)
    try:
        return len(told - {row["job_id"] for row in await con.fetch("select job_id from headrace.job")})
    finally:
        await con.close()
