"""The small pool for reads and for rare writes; never for facts, which go through the ledger's own connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from headrace_broker.model.errors import ResultUnknown
from headrace_broker.store.database import Database

STATEMENT_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION = "2s"
"""A broker that freezes in the middle of a transaction holds its locks no longer: whoever takes over may need them."""
READ_FAILURES = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,  # of a server that has become a standby
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a read raises when Postgres is away or too slow."""
ANY_FAILURE = (asyncpg.PostgresError, *READ_FAILURES)
"""The same, and whatever Postgres refuses: what side work is given up for and tried again."""

REFUSED_VALUES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
"""What Postgres raises for a value that it does not take: it is refused again, however often it is sent."""


RESET_S = 10.0
POOL_SIZE = 6
"""Connections of a broker with one shard."""


async def open_pool(dsn: str | Database, *, size: int = POOL_SIZE) -> "asyncpg.Pool[Any]":
    """A pool of up to `size` connections; opened when needed, so Postgres may be away. A statement uses one process of the server, since flushes need the others."""
    return await asyncpg.create_pool(
        connect=Database.of(dsn).connect, min_size=0, max_size=size, timeout=5, command_timeout=30, reset=_as_it_is,
        server_settings={
            "application_name": "headrace reads", "statement_timeout": str(STATEMENT_TIMEOUT_MS), "jit": "off",
            "max_parallel_workers_per_gather": "0", "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
        },
    )  # fmt: skip


async def open_search_pool(dsn: str | Database, *, size: int = 3) -> "asyncpg.Pool[Any]":
    """A pool for searches alone: each statement is planned for its parameters, uses one process of the server, and ends soon whatever happens here."""
    return await asyncpg.create_pool(
        connect=Database.of(dsn).connect, min_size=0, max_size=size, timeout=5, command_timeout=30, reset=_as_it_is,
        server_settings={
            "application_name": "headrace search", "statement_timeout": str(STATEMENT_TIMEOUT_MS), "jit": "off", "plan_cache_mode": "force_custom_plan",
            "max_parallel_workers_per_gather": "0", "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
        },
    )  # fmt: skip


@asynccontextmanager
async def changing(pool: "asyncpg.Pool[Any]") -> "AsyncIterator[asyncpg.pool.PoolConnectionProxy[Any]]":
    """A connection in a transaction that is committed at the end.

    Raises:
        ResultUnknown: the commit was not answered, so it may have taken effect. What asyncpg raises before that: nothing is stored.
    """
    async with pool.acquire() as con:
        committing = False
        try:
            async with con.transaction():
                yield con
                committing = True
        except READ_FAILURES as error:
            if not committing:
                raise
            raise ResultUnknown("the database did not answer the commit: the change may have been stored, look whether it is before you make it again") from error


async def _as_it_is(_con: "asyncpg.Connection[Any]") -> None:
    """A connection that is given back needs no statement of its own before the next one may have it, as the driver would send: that is one more round trip for each read.

    Open transactions the driver rolls back all the same. Whoever changes a session, beyond `set local`, puts it right.
    """


async def put_right(con: "asyncpg.pool.PoolConnectionProxy[Any]") -> None:
    """Takes back the settings and session locks of a connection of the pool. One for which that cannot be done is closed, and they end with it."""
    try:
        await con.reset(timeout=RESET_S)
    except BaseException:
        con.terminate()
        raise


async def durability(pool: "asyncpg.Pool[Any]") -> tuple[str, list[str]]:
    """(server version, names of settings that are off and would lose acknowledged jobs in a crash)."""
    version = await pool.fetchval("show server_version")
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if await pool.fetchval("select current_setting($1)", name) == "off"]
    return str(version).split(" ")[0], off
