"""Brings a database to this broker's schema: numbered files, each in a transaction of its own, forward only.

May be run twice, by several at once, or be killed: one runner at a time holds an advisory lock, a file and its record commit together, and a file that was applied
must not have changed since.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg

from headrace_broker.store.database import Database
from headrace_broker.store.statements import sql

LOCK = 0x4852_4D49  # "HRMI"


class MigrationError(Exception):
    """The database cannot be brought to this schema; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load(directory: Path | None = None) -> list[Migration]:
    """The migrations of a directory (default: the broker's own), by number. Files are named NNNN_name.sql, numbered from 1 without a gap."""
    root = directory if directory is not None else files("headrace_broker.store").joinpath("sql", "migrations")
    found = [
        Migration(int(path.name[:4]), path.name[5:-4], path.read_text()) for path in sorted(root.iterdir(), key=lambda path: path.name) if path.name.endswith(".sql")
    ]
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"migration files must be numbered 1, 2, 3, ...; found {[m.version for m in found]}")
    return found


async def migrate(dsn: str | Database, *, dry_run: bool = False, directory: Path | None = None, version: str = "") -> list[Migration]:
    """Applies what is missing and returns it; with `dry_run` only returns it.

    Raises:
        MigrationError: an applied file has changed, or the database is newer than this broker. OSError, asyncpg errors: Postgres is away.
    """
    migrations = load(directory)
    async with _locked(dsn) as con:
        if not dry_run:
            await con.execute(sql("migration_table"))
        applied = await _applied(con)
        _check(migrations, applied)
        missing = [migration for migration in migrations if migration.version not in applied]
        for migration in missing if not dry_run else []:
            async with con.transaction():
                await con.execute(migration.text)
                await con.execute(sql("migration_record"), migration.version, migration.name, migration.checksum, version)
        return missing


@asynccontextmanager
async def _locked(dsn: str | Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    con = await Database.of(dsn).connect(timeout=10, server_settings={"application_name": "headrace migrate"})
    try:
        await con.execute("select pg_advisory_lock($1)", LOCK)
        yield con
    finally:
        await con.close(timeout=5)


async def _applied(con: "asyncpg.Connection[Any]") -> dict[int, str]:
    if await con.fetchval("select to_regclass('headrace.migration')") is None:
        return {}
    return {row["version"]: row["checksum"] for row in await con.fetch(sql("migration_list"))}


def _check(migrations: list[Migration], applied: dict[int, str]) -> None:
    known = {migration.version: migration for migration in migrations}
    for number, checksum in applied.items():
        migration = known.get(number)
        if migration is None:
            raise MigrationError(f"the database has migration {number}, which this broker does not know: it is older than the database; run a newer headrace")
        if migration.checksum != checksum:
            raise MigrationError(f"migration {number} ({migration.name}) was changed after it was applied; restore the file, and put the change into a new migration")
