"""A backup that is taken under work, and a queue that goes on from it: docs/backup.md, whose commands are run here."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import asyncpg
import pytest
from headrace_broker.store.embedded import EmbeddedError
from headrace_broker.store.pg_binaries import find
from headrace_client import AdminClient, Client, NotFound, State

from tests.support.agreement import agree
from tests.support.needs import need
from tests.support.ports import free_ports
from tests.support.processes import ROOT, start_agent, start_broker, until
from tests.support.servers import Server, server

COMMANDS = re.findall(r"^```bash\n(.*?)^```", (ROOT / "docs" / "backup.md").read_text(), re.MULTILINE | re.DOTALL)
BURN = "do $$ begin for i in 1..5000 loop perform pg_current_xact_id(); commit; end loop; end $$"
FOREIGN = "select pg_snapshot_xmax(done) > pg_snapshot_xmax(pg_current_snapshot()) from headrace.inbox_cursor order by cursor_no desc limit 1"


@pytest.fixture
def another() -> Iterator[Server]:
    """An empty server of its own."""
    with _directory() as place:
        made = Server(place / "data", durable=False)
        made.start()
        try:
            yield made
        finally:
            made.stop()


@contextmanager
def _directory() -> Iterator[Path]:
    """One that the server's user may enter."""
    place = Path(mkdtemp(prefix="headrace-backup-"))
    place.chmod(0o777)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def run(commands: str, directory: Path, **environment: str) -> None:
    """Runs commands of the document."""
    path = f"{Path(sys.executable).parent}:{find().directory}:{os.environ['PATH']}"
    done = await asyncio.to_thread(
        subprocess.run, ["bash", "-euo", "pipefail", "-c", commands], cwd=directory, capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "PATH": path, **environment},
    )  # fmt: skip
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"


@pytest.mark.timeout(240)
async def test_a_queue_goes_on_from_a_dump_on_another_server(database: str, another: Server, directory: Path, stack: AsyncExitStack) -> None:
    need((find().directory / "pg_dump").exists(), "pg_dump and pg_restore beside the server's programs")
    dump, restore = COMMANDS
    [port] = free_ports(1)
    options = ("--lease-s", "60", "--log-level", "warning")
    broker = await start_broker(directory, *options, database=database, listen=f"127.0.0.1:{port}")
    stack.push_async_callback(broker.kill)
    agent = await start_agent(directory, broker.address, "--log-level", "error")
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(broker.address, actor="tester", timeout_s=20))
    con: Any = await asyncpg.connect(database)
    stack.push_async_callback(con.close)

    done = [(await client.submit("echo", number)).job_id for number in range(20)]
    for job_id in done:
        await client.wait(job_id, timeout_s=60)
    kept = (await client.submit("nobody", 1, key="before")).job_id
    held = (await client.submit("gate", "one")).job_id
    await until(lambda: ran(directory, "start", held))
    await admin.pause_type("gate")
    late = (await client.submit("gate", "two")).job_id
    await con.execute(BURN)
    await con.execute("select headrace.submit_job('echo', '1')")
    await until(lambda: con.fetchval("select count(*) from headrace.inbox_result"))
    await run(dump, directory, HEADRACE_DATABASE_URL=database)

    await admin.resume_type("gate")
    await until(lambda: ran(directory, "start", late))
    gone = [(await client.submit("nobody", number, key=f"after {number}")).job_id for number in range(3)]
    await broker.kill()
    await run(restore, directory, RESTORED_URL=another.dsn)
    fresh: Any = await asyncpg.connect(another.dsn)
    stack.push_async_callback(fresh.close)
    assert await fresh.fetchval(FOREIGN), "the other server counts its transactions anew, which is to be shown"
    again = await start_broker(directory, *options, database=another.dsn, listen=f"127.0.0.1:{port}", name="restored")
    stack.push_async_callback(again.kill)

    assert [job.state for job in [await client.get(job_id) for job_id in done]] == [State.COMPLETED] * 20
    for job_id in gone:
        with pytest.raises(NotFound):
            await client.get(job_id)
    found = await client.submit("nobody", 1, key="before")
    assert (found.job_id, found.existing) == (kept, True)
    new = [(await client.submit("nobody", number, key=f"after {number}")).job_id for number in range(3)]
    assert min(new) > max(gone), "an id was given twice, or may be"
    await until(lambda: ran(directory, "stopped", late))  # its lease came after the backup
    assert (await client.get(late)).state is State.WAITING
    for name in ("one", "two"):
        (directory / name).touch()
    assert (await client.wait(held, timeout_s=60)).state is State.COMPLETED
    await admin.resume_type("gate")  # it was paused in the backup
    assert (await client.wait(late, timeout_s=60)).state is State.COMPLETED
    assert [len(await ran(directory, "start", job_id)) for job_id in (held, late)] == [1, 2]
    inbox_id = await fresh.fetchval("select headrace.submit_job('echo', '2')")
    door = await until(lambda: fresh.fetchval("select headrace.submitted_job($1)", inbox_id))
    assert (await client.wait(door, timeout_s=60)).state is State.COMPLETED
    await agree(client, another.dsn)


async def ran(directory: Path, what: str, job_id: int) -> list[list[str]]:
    """Lines of the handlers' record."""
    try:
        text = (directory / "ran.txt").read_text()
    except FileNotFoundError:
        return []
    return [words for line in text.splitlines() if (words := line.split())[:2] == [what, str(job_id)]]


class Recovered(Server):
    """A server that begins from a base backup and an archive, up to a named point."""

    def __init__(self, data_dir: Path, base: Path, archive: Path, point: str) -> None:
        super().__init__(data_dir, durable=False)
        self._base = base
        self._lines = (
            f"restore_command = 'cp {archive}/%f %p'\nrecovery_target_name = '{point}'\nrecovery_target_action = 'promote'\narchive_mode = off\narchive_command = ''\n"
        )

    def _make_cluster(self) -> None:
        target = self.data_dir / "pg"
        copied = self._run(["cp", "-a", str(self._base), str(target)])
        if copied.returncode:
            raise EmbeddedError(copied.stderr.decode())
        written = self._run(["sh", "-c", f"cat >> {target}/postgresql.auto.conf && touch {target}/recovery.signal"], self._lines.encode())
        if written.returncode:
            raise EmbeddedError(written.stderr.decode())

    def _prepare_directory(self) -> None:
        super()._prepare_directory()
        self.data_dir.chmod(0o777)  # the server's user makes the copy


class Archived:
    """A server that archives, and one that begins from a backup of it; made on the main thread, where servers are started."""

    def __init__(self, place: Path, first: Server) -> None:
        self.place = place
        self.first = first
        self.second = Recovered(place / "second", place / "base", place / "wal", "before_the_accident")

    def back_up(self) -> None:
        """A base backup."""
        assert self.first._binaries is not None
        program = str(self.first._binaries.directory / "pg_basebackup")
        done = self.first._run([program, "-D", str(self.place / "base"), "-c", "fast", "-d", self.first.dsn])
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
def archived() -> Iterator[Archived]:
    """See the class."""
    with _directory() as place:
        (place / "wal").mkdir()
        (place / "wal").chmod(0o777)
        with server(place / "first", archive_mode="on", archive_command=f"cp %p {place}/wal/%f") as first:
            made = Archived(place, first)
            yield made
            made.second.stop()


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_queue_goes_on_from_a_point_in_time(archived: Archived, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--log-level", "warning", database=archived.first.dsn)
    stack.push_async_callback(broker.kill)
    need((find().directory / "pg_basebackup").exists(), "pg_basebackup beside the server's programs")
    agent = await start_agent(directory, broker.address, "--log-level", "error")
    stack.push_async_callback(agent.kill)
    con: Any = await asyncpg.connect(archived.first.dsn)
    stack.push_async_callback(con.close)
    async with Client(broker.address, timeout_s=20) as client:

        async def work() -> list[int]:
            jobs = [(await client.submit("echo", number)).job_id for number in range(30)]
            for job_id in jobs:
                await client.wait(job_id, timeout_s=60)
            return jobs

        kept = await work()
        working = asyncio.create_task(work())
        await asyncio.to_thread(archived.back_up)
        kept += await working
        kept += await work()
        await con.fetchval("select pg_create_restore_point('before_the_accident')")
        gone = await work()
    await agent.kill()
    await broker.kill()
    segment = await con.fetchval("select pg_walfile_name(pg_switch_wal())")
    await until(lambda: con.fetchval("select last_archived_wal >= $1 from pg_stat_archiver", segment))
    archived.second.start()
    fresh = await start_broker(directory, "--log-level", "warning", database=archived.second.dsn, name="restored")
    stack.push_async_callback(fresh.kill)
    other = await start_agent(directory, fresh.address, "--log-level", "error", name="other")
    stack.push_async_callback(other.kill)
    async with Client(fresh.address, timeout_s=20) as client:
        assert {(await client.get(job_id)).state for job_id in kept} == {State.COMPLETED}
        for job_id in gone:
            with pytest.raises(NotFound):
                await client.get(job_id)
        new = await client.submit("echo", "again")
        assert new.job_id > max(gone) and (await client.wait(new.job_id, timeout_s=60)).state is State.COMPLETED
        await agree(client, archived.second.dsn)
