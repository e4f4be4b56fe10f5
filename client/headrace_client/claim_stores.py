"""Where claims are kept (claims.py): a directory that all share, or whatever fsspec reaches, such as the object store of a cloud.

Both read and write in threads of their own, so that no event loop waits for a disk or a network. A key becomes a path only when it is 64 hex digits.
"""

import asyncio
import contextlib
import errno
import importlib
import os
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from headrace_proto.claim import is_key

from headrace_client.errors import ClaimError

T = TypeVar("T")
THREADS = 8  # of one store, so how many of its calls are under way
_DYING = ".pruned"
_UNFINISHED = ".tmp"


class _Threads:
    """Runs what blocks. The threads are made when they are first needed, and do not travel to other processes, by a fork either."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """The result of a call in a thread. Cancellation does not stop a call that has begun; nobody waits for it then."""
        pool = self._pool
        if pool is None or self._pid != os.getpid():  # two loops may come here at once: one of the pools ends with its calls
            pool = ThreadPoolExecutor(THREADS, thread_name_prefix="headrace-claims")
            self._pool, self._pid = pool, os.getpid()
        return await asyncio.get_running_loop().run_in_executor(pool, call, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Threads, ()


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted."""

    files: int = 0
    size_bytes: int = 0


class DirectoryStore:
    """A directory, on a file system that all who read and write share. Nobody else's files belong into it."""

    def __init__(self, directory: str | Path) -> None:
        """Raises ClaimError unless the directory is there: one that is made where a share is not mounted would be seen by nobody else."""
        self.directory = Path(directory).absolute()
        if not self.directory.is_dir():
            raise ClaimError(f"claims are to be kept in {self.directory}, which is no directory: make it, or mount the share")
        self._threads = _Threads()

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self.directory)!r})"

    async def put(self, key: str, data: bytes) -> None:
        """See ClaimStore. A file is whole or not there, also after a crash of the machine; one that is there costs no writing."""
        await self._threads.run(self._put, key, data)

    async def get(self, key: str, most: int) -> bytes:
        """See ClaimStore."""
        return await self._threads.run(self._get, key, most)

    async def delete(self, key: str) -> None:
        """See ClaimStore."""
        await self._threads.run(self._delete, key)

    async def prune(self, older_than_s: float) -> Pruned:
        """Deletes what was put last longer ago than that, by the clock of the file system. Safe beside everything else, but for jobs that still refer to it."""
        return await self._threads.run(self._prune, older_than_s)

    def _path(self, key: str) -> Path:
        _check(key)
        return self.directory / key[:2] / key

    def _put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        if not self._renew(path, len(data)):
            path.parent.mkdir(exist_ok=True)
            self._write(path, data)
        for directory in (path.parent, self.directory):  # also where another writer made the names: it may not have come so far yet
            _sync_directory(directory)

    def _renew(self, path: Path, size_bytes: int) -> bool:
        """Whether the file is there already. If so its age begins anew, before it is looked at: from then on `prune` leaves it alone."""
        try:
            os.utime(path)
            return path.stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    def _write(self, path: Path, data: bytes) -> None:
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_UNFINISHED}")
        try:
            with open(unfinished, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _get(self, key: str, most: int) -> bytes:
        with open(self._path(key), "rb") as file:
            return file.read(most)

    def _delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _prune(self, older_than_s: float) -> Pruned:
        before = self._now() - older_than_s
        files = size_bytes = 0
        for path in sorted(self.directory.glob("[0-9a-f][0-9a-f]/*")):
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                size = path.stat().st_size
                left = path.name.endswith(_DYING)  # by a pruner that died: what was put meanwhile is to come back
                if (left or path.stat().st_mtime < before) and self._remove(path, before):
                    files, size_bytes = files + 1, size_bytes + size
        return Pruned(files, size_bytes)

    def _remove(self, path: Path, before: float) -> bool:
        """Deletes one file, unless somebody puts it meanwhile: it is moved aside first, and looked at again where nobody can touch it any more."""
        dying = path if path.name.endswith(_DYING) else path.with_name(path.name + _DYING)
        path.rename(dying)
        if dying.stat().st_mtime >= before:
            dying.replace(dying.with_name(dying.name.removesuffix(_DYING)))
            return False
        dying.unlink()
        return True

    def _now(self) -> float:
        """By the clock that gives files their times, which need not be this machine's."""
        probe = self.directory / f"{secrets.token_hex(8)}{_UNFINISHED}"
        try:
            probe.touch(exist_ok=False)
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


class FsspecStore:
    """What fsspec reaches by a URL, such as s3://bucket/claims or gs://bucket/claims (https://filesystem-spec.readthedocs.io); meant for object stores.

    `pip install 'headrace[claims]'`, and what the protocol needs, such as s3fs. An object store keeps an object whole or not at all; a repeated put writes it again,
    so that its age begins anew.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        """`options`: what fsspec gives to the protocol, such as credentials. Raises ClaimError for what it cannot reach, or when a package is missing."""
        self._url, self._options = url, dict(options or {})
        self._threads = _Threads()
        try:
            core = importlib.import_module("fsspec.core")
        except ImportError as error:
            raise ClaimError("FsspecStore needs the package fsspec: pip install 'headrace[claims]'") from error
        try:
            self._fs, self._root = core.url_to_fs(url, **self._options)
        except (ImportError, ValueError) as error:
            raise ClaimError(f"claims cannot be kept in {url!r}: {error}") from error
        if "file" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,)):
            raise ClaimError(f"{url!r} is a directory: DirectoryStore writes files that are whole after a crash too")

    def __repr__(self) -> str:
        return f"FsspecStore({self._url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return FsspecStore, (self._url, self._options)

    async def put(self, key: str, data: bytes) -> None:
        """See ClaimStore."""
        await self._threads.run(self._fs.pipe_file, self._path(key), data)

    async def get(self, key: str, most: int) -> bytes:
        """See ClaimStore."""
        return bytes(await self._threads.run(lambda: self._fs.cat_file(self._path(key), start=0, end=most)))

    async def delete(self, key: str) -> None:
        """See ClaimStore."""
        with contextlib.suppress(FileNotFoundError):
            await self._threads.run(self._fs.rm_file, self._path(key))

    def _path(self, key: str) -> str:
        _check(key)
        return f"{self._root.rstrip('/')}/{key[:2]}/{key}"


def open_store(place: str, options: Mapping[str, Any] | None = None) -> DirectoryStore | FsspecStore:
    """The store in a directory, or behind a URL. Raises ClaimError."""
    return FsspecStore(place, options) if "://" in place else DirectoryStore(place)


def _check(key: str) -> None:
    if not is_key(key):
        raise ValueError("a key of a claim is 64 hex digits")


def _sync_directory(path: Path) -> None:
    """A new name in a directory is there after a crash only once the directory was written too (fsync(2)). Some file systems of a network cannot be asked for that."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(number)
