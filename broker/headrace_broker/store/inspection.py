"""What a broker can find out about a database before it uses it."""

from dataclasses import dataclass
from typing import Any

import asyncpg

from headrace_broker.store.migrate import LIFE_LOCKS
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and the database. `free_connections`: how many this user may still open."""

    version: str
    version_number: int
    encoding: str
    read_only: bool
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    autovacuum: str
    synchronous_standby_names: str
    standbys: int
    free_connections: int
    now_s: float
    user_name: str
    superuser: bool
    trgm: bool
    trgm_available: bool
    installed: bool


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """A schema that is there. `missing_rights`: what a broker needs and this user may not; `reach`: for each retention class the id at which partitions end."""

    missing_rights: tuple[str, ...] = ()
    brokers: tuple[str, ...] = ()
    reach: tuple[int, ...] = ()


async def look(dsn: str) -> tuple[ServerFacts, SchemaFacts | None]:
    """Facts of the database; None: it has no schema yet. Raises what asyncpg raises."""
    con = await asyncpg.connect(dsn, timeout=10, command_timeout=30, statement_cache_size=0, server_settings={"application_name": "headrace doctor"})
    try:
        server = ServerFacts(*(await con.fetchrow(sql("doctor"))).values())
        if not server.installed:
            return server, None
        try:
            row = await con.fetchrow(sql("doctor_schema"), LIFE_LOCKS)
        except asyncpg.InsufficientPrivilegeError as error:
            return server, SchemaFacts(missing_rights=(str(error),))
        return server, SchemaFacts(*(tuple(value) for value in row.values()))
    finally:
        await con.close(timeout=5)


async def is_pooled(dsn: str) -> bool:
    """Whether transactions of two connections run on one backend: a pooler in transaction mode lies between. Connections of one's own never share one."""
    first = await _plain(dsn)
    try:
        second = await _plain(dsn)
        try:
            seen = await first.fetchval("select pg_backend_pid()")
            async with second.transaction():
                return bool(seen == await second.fetchval("select pg_backend_pid()") or seen != await first.fetchval("select pg_backend_pid()"))
        finally:
            await second.close(timeout=5)
    finally:
        await first.close(timeout=5)


async def _plain(dsn: str) -> "asyncpg.Connection[Any]":
    """Without named statements, which a pooler may not know."""
    return await asyncpg.connect(dsn, timeout=10, command_timeout=30, statement_cache_size=0)
