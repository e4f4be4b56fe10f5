"""A second server that follows a first one, made by pg_basebackup: it can be promoted."""

import time
from pathlib import Path

import asyncpg
from headrace_broker.store.embedded import START_TIMEOUT_S, EmbeddedError

from tests.support.servers import Server


class Standby(Server):
    """Of a primary that runs. `start` copies it and follows it. Neither waits for the disk: it is processes that are hurt."""

    def __init__(self, data_dir: Path, primary: Server) -> None:
        super().__init__(data_dir, durable=False)
        self._primary = primary

    def _make_cluster(self) -> None:
        assert self._binaries is not None
        program, source = str(self._binaries.directory / "pg_basebackup"), str(self._primary._socket)
        copied = self._run([program, "-D", str(self.data_dir / "pg"), "-h", source, "-U", "headrace", "-R", "-c", "fast", "-N"])
        if copied.returncode:
            raise EmbeddedError(f"pg_basebackup failed: {copied.stderr.decode(errors='replace')}")

    def _prepare_directory(self) -> None:
        super()._prepare_directory()
        (self.data_dir).chmod(0o777)  # the server's user makes the copy

    def _wait_until_ready(self, log: Path) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            lines = self._pid_file()
            if len(lines) > 7 and lines[7].strip() in ("standby", "ready"):
                return
            time.sleep(0.02)
        raise EmbeddedError(f"the standby was not ready after {START_TIMEOUT_S:.0f} s; see {log}")

    async def promote(self) -> None:
        """It takes writes from now on."""
        con = await asyncpg.connect(self.dsn)
        try:
            assert await con.fetchval("select pg_promote()")
        finally:
            await con.close()


def both(first: Server, second: Server) -> str:
    """A URL that names both."""
    return first.dsn + "," + second.dsn.partition("host=")[2]
