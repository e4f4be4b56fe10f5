"""Postgres servers of a test's own, which it may hurt."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.migrate import migrate


class Server(EmbeddedPostgres):
    """A server whose processes have an environment of the test's own."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None, *, durable: bool = True) -> None:
        super().__init__(data_dir, durable=durable, shared_buffers="64MB")
        self._environment = dict(environment or {})

    def _as_user(self) -> dict[str, object]:
        as_user = super()._as_user()
        return {**as_user, "env": {**as_user["env"], **self._environment}}  # type: ignore[dict-item]  # it is a dict of strings

    def restart(self) -> None:
        """Shuts it down and starts it with the same directory."""
        self.stop()
        self.start()

    def configure(self, **settings: str) -> None:
        """Stores settings; those that need a start are in force after the next one."""
        asyncio.run(self._configure(settings))

    async def _configure(self, settings: Mapping[str, str]) -> None:
        con = await asyncpg.connect(self.dsn)
        try:
            for name, value in settings.items():
                await con.execute(f"alter system set {name} = '{value}'")
            await con.execute("select pg_reload_conf()")
        finally:
            await con.close()


@contextmanager
def server(data_dir: Path, environment: Mapping[str, str] | None = None, **settings: str) -> Iterator[Server]:
    """A migrated server with fsync, started from the main thread; `settings` that need a start are in force."""
    made = Server(data_dir, environment)
    made.start()
    try:
        if settings:
            made.configure(**settings)
            made.restart()
        asyncio.run(migrate(made.dsn))
        yield made
    finally:
        made.stop()
