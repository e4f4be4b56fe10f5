"""Switchovers, kills and freezes of the primary under Patroni, with two brokers, an agent and submitters at work: nothing acknowledged is lost, nothing is run again.

Each event has a database of its own, so each is judged by itself. The control replicates asynchronously and must lose: else the others would show nothing.
"""

import asyncio
import itertools
import json
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from headrace_broker.store.migrate import migrate

from tests.ha.conftest import COLUMNS
from tests.support import needs
from tests.support.patroni import Node, Patroni, Program, patroni
from tests.support.ports import free_ports
from tests.support.processes import BrokerProcess, start_agent, start_broker, until
from tests.support.record import Reader
from tests.support.scene import Scene
from tests.support.verdict import Submitted, Verdict

Record = Callable[[str, object], None]
LEASE = ("--lease-s", "60", "--heartbeat-s", "5")
UNDER_WAY_S = 90.0
PATHS = "/usr/bin:/usr/sbin:/usr/local/bin"
FROZEN_POSTGRES = "primary's Postgres frozen"
AFTER = 150  # jobs acknowledged after an event before it is judged


@pytest.fixture(scope="module")
def cluster() -> Iterator[Patroni]:
    """Three nodes, and etcd."""
    needs.need(shutil.which("etcd", path=PATHS) is not None, "etcd (Debian: etcd-server)")
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_rewind"))
    needs.need(bool(binaries), "Postgres of Debian's packages")
    directory = Path(tempfile.mkdtemp(prefix="headrace-ha-"))
    directory.chmod(0o755)
    try:
        program = Program(directory)
        needs.need(bool(program.version), "Patroni (Debian: patroni; or HEADRACE_PATRONI, as make ha sets it)")
        with patroni(directory, program, binaries[-1].parent) as made:
            yield made
    except AssertionError:
        for log in sorted(directory.rglob("patroni.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}")
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@dataclass
class Stage:
    """Work that goes on on a database of its own."""

    cluster: Patroni
    scene: Scene
    name: str
    brokers: list[BrokerProcess]
    primary: Node

    @property
    def dsn(self) -> str:
        """The database at the node that is the primary now."""
        primary = self.cluster.primary
        assert primary is not None
        return self.cluster.url_of(primary, self.name)


@asynccontextmanager
async def stage(cluster: Patroni, directory: Path, name: str, *, synchronous: bool = True) -> AsyncIterator[Stage]:
    """Two brokers, an agent and submitters on a database of that name, made on a cluster that is whole."""
    await asyncio.to_thread(cluster.whole, synchronous)
    primary = cluster.primary
    assert primary is not None
    con = await asyncpg.connect(cluster.url_of(primary))
    await con.execute(f"create database {name}")
    await con.close()
    await migrate(cluster.url_of(primary, name))
    async with AsyncExitStack() as stack:
        ports, brokers = free_ports(2), []
        for number, port in enumerate(ports):
            broker = await start_broker(directory, *LEASE, database=cluster.url(name), listen=f"127.0.0.1:{port}", name=f"broker{number}")
            stack.push_async_callback(broker.kill)
            brokers.append(broker)
        addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
        agent = await start_agent(directory, addresses, "--slots", "40", "--log-level", "error")
        stack.push_async_callback(agent.kill)
        scene = Scene(addresses, directory)
        stack.push_async_callback(scene.stop)
        await scene.start()
        await scene.acknowledged(100)
        yield Stage(cluster, scene, name, brokers, primary)


Event = Callable[[Stage], Awaitable[Callable[[], None]]]


async def _switchover(stage: Stage) -> Callable[[], None]:
    await asyncio.to_thread(stage.cluster.switch_over)
    return lambda: None


async def _kill_postgres(stage: Stage) -> Callable[[], None]:
    stage.primary.signal(signal.SIGKILL, stage.primary.postgres_pids()[:1])
    return lambda: None


async def _kill_machine(stage: Stage) -> Callable[[], None]:
    stage.primary.die()
    return stage.primary.start


async def _freeze_machine(stage: Stage) -> Callable[[], None]:
    frozen = stage.primary.pids()
    stage.primary.signal(signal.SIGSTOP, frozen)
    return lambda: stage.primary.signal(signal.SIGCONT, frozen)


async def _freeze_postgres(stage: Stage) -> Callable[[], None]:
    frozen = stage.primary.postgres_pids()
    stage.primary.signal(signal.SIGSTOP, frozen)
    return lambda: stage.primary.signal(signal.SIGCONT, frozen)


async def _kill_both(stage: Stage) -> Callable[[], None]:
    """The broker that owns the queue dies with the primary."""
    con = await asyncpg.connect(stage.dsn)
    address = str(await con.fetchval("select l.address from headrace.shard s join headrace.life l using (life_id) where not l.dead limit 1"))
    await con.close()
    [owner] = [broker for broker in stage.brokers if f" pid {broker.pid} " in address]
    stage.primary.die()
    await owner.kill()
    return stage.primary.start


EVENTS: dict[str, Event] = {
    "switchover": _switchover,
    "postmaster killed": _kill_postgres,
    "primary's machine killed": _kill_machine,
    "primary's machine frozen": _freeze_machine,
    FROZEN_POSTGRES: _freeze_postgres,
    "primary's machine and the owning broker killed": _kill_both,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("event", EVENTS)
async def test_nothing_acknowledged_is_lost(event: str, cluster: Patroni, directory: Path, record_property: Record) -> None:
    if event == FROZEN_POSTGRES:
        needs.need(
            cluster.program.version >= (4,),
            "Patroni 4: with 3.0.2 and etcd 3 a primary that wakes up takes the leader key back from its successor, and its facts with it",
        )
    async with stage(cluster, directory, f"event_{list(EVENTS).index(event)}") as work:
        at = time.time()
        heal = await EVENTS[event](work)
        try:
            await work.scene.acknowledged(AFTER, timeout_s=UNDER_WAY_S)
        finally:
            heal()
        await asyncio.to_thread(cluster.whole)
        await work.scene.acknowledged(50)
        await work.scene.stop()
        verdict = await work.scene.end(work.dsn, event)
        record_property("row", _row(work, event, at, verdict, await _version(work.dsn)))
        assert set(verdict.again) <= {"after a failure"}, "a job of a living agent was run again"


@pytest.mark.timeout(600)
async def test_control_asynchronous_replication_loses_and_the_broker_says_so(cluster: Patroni, directory: Path, record_property: Record) -> None:
    """The standbys are behind when the primary dies."""
    await asyncio.to_thread(cluster.whole)
    cluster.configure(synchronous_mode=False)
    try:
        async with stage(cluster, directory, "control", synchronous=False) as work:
            senders = work.primary.walsenders()
            work.primary.signal(signal.SIGSTOP, senders)
            await work.scene.acknowledged(100)
            await work.scene.stop()
            work.primary.die()
            work.primary.signal(signal.SIGCONT, senders)

            async def moved() -> bool:
                primary = await asyncio.to_thread(lambda: cluster.primary)
                return primary is not None and primary is not work.primary

            await until(moved, timeout_s=UNDER_WAY_S, what="another primary")

            async def said() -> bool:
                return any("acknowledged facts are lost" in broker.log.read_text() for broker in work.brokers)

            await until(said, timeout_s=30, what="the broker's word")
            lost = await _missing(work.dsn, directory / "submitted.txt")
            work.primary.start()
            told = work.scene.look()
            row = dict.fromkeys(COLUMNS, "-") | {"event": "control: asynchronous, standbys behind, machine killed", "acknowledged": told["got"], "lost": lost}
            record_property("row", json.dumps(row | {"refused": told["none"], "unknown": told["unknown"], "Postgres": await _version(work.dsn)}))
            assert lost > 0, "asynchronous replication lost nothing: this test shows nothing"
    finally:
        await asyncio.to_thread(cluster.whole, None)
        cluster.configure(synchronous_mode=True)
        await asyncio.to_thread(cluster.whole)


def _row(work: Stage, event: str, at: float, verdict: Verdict, version: str) -> str:
    """What one event is in the table. Times are those of the handlers' own record."""
    starts = sorted(float(words[-1]) for words in Reader(work.scene.directory / "ran.txt").read() if words[0] == "start")
    around = [start for start in starts if start >= at - 1.0]
    pause, after = max((later - earlier, later - at) for earlier, later in itertools.pairwise(around) if later >= at)
    again = sum(number for cause, number in verdict.again.items() if cause != "after a failure")
    values = (f"{after:.1f} s", f"{pause:.1f} s", verdict.acknowledged, work.scene.told["none"], work.scene.told["unknown"], len(verdict.lost), len(verdict.doubled))
    return json.dumps(dict(zip(COLUMNS, (event, *values, len(verdict.stale), again, version), strict=True)))


async def _missing(dsn: str, submitted: Path) -> int:
    """Acknowledged jobs that are not there."""
    con = await asyncpg.connect(dsn)
    try:
        told = set(Submitted.read(submitted).got.values())
        return len(told - {row["job_id"] for row in await con.fetch("select job_id from headrace.job where job_id = any($1::bigint[])", list(told))})
    finally:
        await con.close()


async def _version(dsn: str) -> str:
    con = await asyncpg.connect(dsn)
    try:
        return str(await con.fetchval("show server_version")).split()[0]
    finally:
        await con.close()
