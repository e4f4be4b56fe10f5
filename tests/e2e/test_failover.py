"""The database moves to another server while brokers, agents and submitters work: nothing acknowledged is lost, and nothing that runs is run again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from headrace_broker.store.migrate import migrate
from headrace_broker.store.pg_binaries import find

from tests.support import needs
from tests.support.processes import freeze, thaw, until
from tests.support.scene import at_work
from tests.support.servers import Server
from tests.support.standby import Standby, both


@pytest.fixture
def servers(directory: Path) -> Iterator[tuple[Server, Standby]]:
    """A primary, and a standby that each commit waits for."""
    needs.need((find().directory / "pg_basebackup").exists(), "pg_basebackup")
    primary = Server(directory / "one", durable=False)
    primary.start()
    standby = Standby(directory / "two", primary)
    try:
        asyncio.run(migrate(primary.dsn))
        standby.start()
        primary.configure(synchronous_standby_names="*", synchronous_commit="on")
        yield primary, standby
    finally:
        standby.stop()
        primary.stop()


async def _probed(server: Server) -> bool:
    con = await asyncpg.connect(server.dsn)
    try:
        return bool(await con.fetchval("select count(*) from pg_stat_activity where application_name = 'headrace probe'"))
    finally:
        await con.close()


@pytest.mark.timeout(180)
async def test_a_primary_freezes_and_its_standby_is_promoted(servers: tuple[Server, Standby], directory: Path) -> None:
    """Its connections stay open and silent, and it is still the first in the URL. When it wakes it takes writes again, and nobody gives it any."""
    primary, standby = servers
    async with at_work(directory, both(primary, standby), "--lease-s", "60", "--heartbeat-s", "5") as scene:
        await until(lambda: _probed(primary), what="somebody who asks whether the server is there, whatever else the broker does")
        frozen = freeze(primary.pid)
        await standby.promote()
        await scene.acknowledged(50)
        thaw(frozen)

        async def left() -> bool:
            return "letting go of the former one" in (directory / "broker.log").read_text()

        await until(left, what="the end of all connections to the former primary")
        await scene.acknowledged(50)
        verdict = await scene.end(standby.dsn, "a frozen primary")
        assert set(verdict.again) <= {"after a failure"}, "no job of a living agent is run again"
