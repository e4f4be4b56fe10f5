"""Where the tests' server keeps its files, and how a database of a test's own is made: each has some 500 of them, and hundreds of tests ask for one."""

import os
import shutil
import tempfile
from pathlib import Path

from tests.support.processes import alive

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
