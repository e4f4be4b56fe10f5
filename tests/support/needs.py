"""What some scenarios need and not every machine has. Whoever needs it is skipped by its name; the summary of `make chaos` counts that."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NEEDS = "needs "  # how the reason of such a skip begins


def need(there: bool, what: str) -> None:
    """Skips the test unless it is there."""
    if not there:
        pytest.skip(NEEDS + what)


def root() -> None:
    """The right to mount, and to make network namespaces."""
    need(os.geteuid() == 0, "root")


def network_namespaces() -> None:
    """`ip netns`, and that the kernel lets this process use it."""
    root()
    need(shutil.which("ip") is not None, "ip (Debian: iproute2)")
    need(_try(["ip", "netns", "add", f"hr-try-{os.getpid()}"], ["ip", "netns", "del", f"hr-try-{os.getpid()}"]), "network namespaces")


def small_disks() -> None:
    """Mounts of tmpfs."""
    root()
    need(_in_own_mounts("mount -t tmpfs -o size=1m none /mnt"), "mounts of tmpfs")


def ext4_disks() -> None:
    """An ext4 of one's own on a loop device."""
    root()
    need(shutil.which("mkfs.ext4") is not None, "mkfs.ext4 (Debian: e2fsprogs)")
    need(Path("/dev/loop-control").exists() and "ext4" in Path("/proc/filesystems").read_text(), "loop devices and ext4")


def libfaketime() -> Path:
    """The library that shows a process another time; where it is."""
    found = next((path for pattern in ("lib/*/faketime", "lib/faketime", "lib64/faketime") for path in Path("/usr").glob(f"{pattern}/libfaketimeMT.so.1")), None)
    need(found is not None, "libfaketime (Debian: faketime)")
    assert found is not None
    return found


@functools.cache
def _in_own_mounts(command: str) -> bool:
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, check=False).returncode == 0


def _try(*commands: list[str]) -> bool:
    return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands)
