"""Disks that tests may fill or cut the power of. They need root."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D  # ioctl(2), linux/ext4.h
NO_LOG_FLUSH = 2  # not even the journal is written any more


class SmallDisk:
    """A tmpfs of so many MiB."""

    def __init__(self, place: Path, size_mb: int) -> None:
        self.place = place
        place.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0755", "headrace-test", str(place))
        self._balloon = place / "balloon"

    def fill(self, leave_bytes: int) -> None:
        """Takes all room but so much."""
        free = os.statvfs(self.place).f_bavail * os.statvfs(self.place).f_frsize
        size = self._balloon.stat().st_size if self._balloon.exists() else 0
        with open(self._balloon, "a") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size + free - leave_bytes))

    def empty(self) -> None:
        """Gives the room back."""
        self._balloon.unlink()

    def close(self) -> None:
        """Unmounts it, at once if nobody uses it and else when nobody does any more."""
        _run("umount", "-l", str(self.place))


class PowerDisk:
    """An ext4 on a loop device over a file: what was not synced is lost when the power is cut, as on a real disk, and the journal is read when it is mounted again."""

    def __init__(self, place: Path, image: Path, size_mb: int) -> None:
        self.place = place
        self._image = image
        place.mkdir()
        with open(image, "wb") as file:
            file.truncate(size_mb << 20)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", str(image))
        self.mount()

    def mount(self) -> None:
        """Mounts it; what was synced before the power was cut is there."""
        _run("mount", "-o", "loop", str(self._image), str(self.place))
        self.place.chmod(0o755)

    def cut_power(self) -> None:
        """From now on nothing reaches the disk; every write fails. What the kernel has and did not write is dropped by `unmount`."""
        directory = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def unmount(self) -> None:
        """Nobody may use it any more."""
        _run("umount", str(self.place))


@contextmanager
def small_disk(directory: Path, size_mb: int) -> Iterator[SmallDisk]:
    """A small disk below a directory."""
    disk = SmallDisk(directory / "disk", size_mb)
    try:
        yield disk
    finally:
        disk.close()


@contextmanager
def power_disk(directory: Path, size_mb: int) -> Iterator[PowerDisk]:
    """A disk below a directory whose power can be cut."""
    disk = PowerDisk(directory / "disk", directory / "disk.img", size_mb)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk.place)], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
