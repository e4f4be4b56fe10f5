"""Where the tests' server keeps its files, and how a database of a test's own is made: each has some 500 of them, and hundreds of tests ask for one."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.migrate import migrate

from tests.support.processes import alive

TEMPLATE = "HEADRACE_TEST_TEMPLATE"
"""In the environment: the directory of a migrated server at rest, of which the session's is a copy, which takes a tenth of the time."""
MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 << 30  # a server uses some hundreds of MB; a container's default is 64 MB


def server_directory() -> Path:
    """A new directory that the database's user may enter: in memory where there is plenty, since making files there takes a twentieth of the CPU."""
    for left in MEMORY.glob("headrace-pg-*-*"):  # of tests that were killed
        if not alive(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=f"headrace-pg-{os.getpid()}-", dir=MEMORY if _has_room() else None))
    path.chmod(0o755)
    return path


@contextmanager
def session_server() -> Iterator[EmbeddedPostgres]:
    """A server without fsync, whose template database is migrated."""
    path = server_directory()
    try:
        if TEMPLATE in os.environ:
            subprocess.run(["cp", "-a", os.environ[TEMPLATE], path / "data"], check=True)
        server = EmbeddedPostgres(path / "data", durable=False, shared_buffers="64MB")
        server.start()
        try:
            if TEMPLATE not in os.environ:
                asyncio.run(_prepare(server.dsn))
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def _prepare(dsn: str) -> None:
    await migrate(dsn)
    con = await asyncpg.connect(dsn)
    await con.execute("alter system set min_wal_size = '80MB'")
    await con.execute("alter system set max_wal_size = '256MB'")
    await con.execute("select pg_reload_conf()")
    await con.close()


def _has_room() -> bool:
    try:
        found = os.statvfs(MEMORY)
        free_kb = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return False
    return os.access(MEMORY, os.W_OK | os.X_OK) and found.f_bavail * found.f_frsize > ROOM_BYTES and free_kb * 1024 > ROOM_BYTES


def clone(name: str) -> str:
    """The statement that makes a database like the migrated one; its files are copied instead of written block by block, a sixth of the CPU."""
    return f"create database {name} template headrace strategy file_copy"
