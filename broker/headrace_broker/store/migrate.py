"""Brings a database to this broker's schema: numbered files, each in a transaction of its own, forward only.

May be run twice, by several at once, or be killed: one runner at a time holds an advisory lock, a file and its record commit together, and a file that was applied
must not have changed since.

Files belong to one of two phases. `NNNN_name.sql` (pre) only adds: the release before goes on working, so it is applied before the first new broker starts.
`NNNN_name.post.sql` (post) takes away what only older brokers need. It is refused while one of these lives, and no such broker gets in afterwards: a life begins only
where every post migration is known. The order of the numbers is kept: a post migration that is pending comes before the pre ones of the next release.

Locks are asked for with a short timeout, again and again, so that no flush waits long behind a migration that waits for somebody's long transaction.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg

from headrace_broker.store.database import Database
from headrace_broker.store.statements import sql

LOCK = 0x4852_4D49  # "HRMI"
LIFE_LOCKS = 0x4852_4C46  # "HRLF": first key of the advisory locks of lives; the second is the life's id
LOCK_TIMEOUT = "500ms"  # a flush waits for its locks four times as long
LOCKS_WITHIN_S = 60.0
OWNER = "headrace_owner"  # who owns the schema once its roles are in use
SETTINGS = {"application_name": "headrace migrate", "statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""Whatever is set for the database or the user: a migration takes as long as it takes, and so does waiting for another one."""


class MigrationError(Exception):
    """The database cannot be brought to this schema, or this broker cannot work with it; the text says why and what to do."""


class Phase(StrEnum):
    """When a migration may be applied: before the first broker that needs it starts, or after the last one that does not know it has gone."""

    PRE = "pre"
    POST = "post"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str
    phase: Phase = Phase.PRE

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load(directory: Path | None = None) -> list[Migration]:
    """The migrations of a directory (default: the broker's own), by number. Files are named NNNN_name.sql or NNNN_name.post.sql, numbered from 1 without a gap."""
    root = directory if directory is not None else files("headrace_broker.store").joinpath("sql", "migrations")
    found = [_read(path.name, path.read_text()) for path in sorted(root.iterdir(), key=lambda path: path.name) if path.name.endswith(".sql")]
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"migration files must be numbered 1, 2, 3, ...; found {[m.version for m in found]}")
    return found


@cache
def newest() -> int:
    """The highest migration that this broker knows."""
    return load()[-1].version


async def migrate(dsn: str | Database, *, dry_run: bool = False, directory: Path | None = None, version: str = "", phase: Phase | None = None) -> list[Migration]:
    """Applies what is missing and returns it; with `dry_run` only returns it.

    `phase` PRE leaves out post migrations at the end, which wait for older brokers to go; a new database gets all. POST applies these; None applies both.

    Raises:
        MigrationError: an applied file has changed, the database is too new or may not be changed by this user, an older broker lives, or a lock is not to be had.
        OSError, asyncpg errors: Postgres is away.
    """
    migrations = load(directory)
    async with _locked(dsn) as con:
        applied = await _applied(con)
        _check(migrations, applied)
        wanted = _of_phase([migration for migration in migrations if migration.version not in applied], phase if applied else None)
        if dry_run or not wanted:
            return wanted
        owner = await _become_owner(con, wanted)
        if not applied:
            await con.execute(sql("migration_table"))
        for migration in wanted:
            await _apply(con, migration, version)
        if owner == OWNER:
            await con.execute(sql("roles_grant"))
        return wanted


async def make_roles(dsn: str) -> None:
    """Makes the roles of least privilege and gives each what it needs; the schema is there. Safe to repeat. For superusers, or who may make roles and owns the schema."""
    async with _locked(dsn) as con, con.transaction():
        await con.execute(sql("roles_make"))
        await con.execute(sql("roles_grant"))


def _read(name: str, text: str) -> Migration:
    words, post = name[5:-4].removesuffix(".post"), name.endswith(".post.sql")
    return Migration(int(name[:4]), words, text, Phase.POST if post else Phase.PRE)


def _of_phase(missing: list[Migration], phase: Phase | None) -> list[Migration]:
    additions = [place for place, migration in enumerate(missing) if migration.phase is Phase.PRE]
    if phase is Phase.POST and additions:
        raise MigrationError(f"migration {missing[additions[0]].version} comes first: headrace-broker migrate --phase pre")
    if phase is Phase.PRE:
        return missing[: additions[-1] + 1 if additions else 0]
    return missing


async def _apply(con: "asyncpg.Connection[Any]", migration: Migration, version: str) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + LOCKS_WITHIN_S
    while True:
        try:
            async with con.transaction():
                await con.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
                if migration.phase is Phase.POST:
                    await _refuse_old_brokers(con, migration)
                await con.execute(migration.text)
                record = sql("migration_record_post" if migration.phase is Phase.POST else "migration_record")
                await con.execute(record, migration.version, migration.name, migration.checksum, version)
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if loop.time() > end:
                raise MigrationError(
                    f"migration {migration.version} ({migration.name}) did not get its locks within {LOCKS_WITHIN_S:.0f} s: end the long transactions that "
                    "pg_stat_activity shows, and run it again"
                ) from error
            await asyncio.sleep(random.uniform(0.1, 0.5))


async def _refuse_old_brokers(con: "asyncpg.Connection[Any]", migration: Migration) -> None:
    """None begins until the transaction ends."""
    await con.execute(sql("migration_lock_lives"))
    old = await con.fetch(sql("migration_old_lives"), LIFE_LOCKS, migration.version)
    if old:
        who = ", ".join(f"{row['address']} (headrace {row['version']})" for row in old)
        raise MigrationError(
            f"migration {migration.version} ({migration.name}) takes away what brokers need that still run: {who}; stop or upgrade them, and run it again"
        )


@asynccontextmanager
async def _locked(dsn: str | Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    con = await Database.of(dsn).connect(timeout=10, server_settings=SETTINGS)
    try:
        await con.execute("select pg_advisory_lock($1)", LOCK)
        yield con
    finally:
        await con.close(timeout=5)


async def _applied(con: "asyncpg.Connection[Any]") -> dict[int, tuple[str, Phase]]:
    if await con.fetchval("select to_regclass('headrace.migration')") is None:
        return {}
    return {row["version"]: (row["checksum"], Phase(row["phase"])) for row in await con.fetch(sql("migration_list"))}


async def _become_owner(con: "asyncpg.Connection[Any]", wanted: list[Migration]) -> str | None:
    """Acts as the owner of the schema from now on, where its roles are in use. Returns who owns it; None: there is none yet."""
    row = await con.fetchrow(sql("schema_rights"))
    if row is None:
        return None
    if not row["member"]:
        raise MigrationError(
            f"the schema lacks {', '.join(f'{m.version} ({m.name})' for m in wanted)}, and this user may not change it, for it belongs to {row['owner']}: "
            "run headrace-broker migrate --phase pre as a user who may"
        )
    if row["owner"] == OWNER:
        await con.execute(f"set role {OWNER}")
    return str(row["owner"])


def _check(migrations: list[Migration], applied: dict[int, tuple[str, Phase]]) -> None:
    known = {migration.version: migration for migration in migrations}
    for number, (checksum, phase) in applied.items():
        migration = known.get(number)
        if migration is None:
            if phase is Phase.POST:
                raise MigrationError(f"the database has migration {number}, which took away what this broker needs: it is older than the database; run a newer headrace")
        elif migration.checksum != checksum:
            raise MigrationError(f"migration {number} ({migration.name}) was changed after it was applied; restore the file, and put the change into a new migration")
