"""Transactions of handlers in Postgres: effects and the job's completion in one, and effects that happen once although the job may run twice.

No driver is imported: what is asked of a connection is written down in `_Async` and `_Blocking`. Accepted are connections and pools of asyncpg and of psycopg 3,
asynchronous and not. Any other library goes by `JobContext.completing`.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from headrace_agent import codec
from headrace_agent.errors import AgentError, LeaseLost

if TYPE_CHECKING:
    from headrace_agent.context import JobContext

LEASE_LOST = "HR001"
COMPLETE = "select headrace.complete_job($1::bigint, $2::int, result_bytes => $3::bytea)"
ONCE_TABLE = """\
-- Effects of jobs of headrace that have happened; rows may be deleted once their jobs are.
create table if not exists headrace_once (
    job_id bigint not null,
    run int not null,               -- a requeue is asked for by somebody: it may have its effect again
    step text not null default '',
    lease_epoch int not null,       -- of the attempt that did it
    result bytea,                   -- JSON
    at timestamptz not null default now(),
    primary key (job_id, run, step)
);
"""
_BEGIN = "insert into headrace_once (job_id, run, step, lease_epoch) values ($1::bigint, $2::int, $3::text, $4::int) on conflict do nothing returning lease_epoch"
_END = "update headrace_once set result = $1::bytea where job_id = $2::bigint and run = $3::int and step = $4::text returning lease_epoch"
_FOUND = "select result from headrace_once where job_id = $1::bigint and run = $2::int and step = $3::text"


class Door:
    """What became of a handler's transaction: it was begun, and `committed` is whether its commit is known."""

    __slots__ = ("committed", "result")

    def __init__(self) -> None:
        self.committed = False
        self.result: Any = None


@contextmanager
def completing(ctx: "JobContext") -> Iterator[None]:
    """See `JobContext.completing`."""
    door = ctx.open_door()
    try:
        yield
    except Exception as error:
        if _is_lease_lost(error):
            raise LeaseLost(f"the lease of job {ctx.job_id} is not this attempt's any more: its transaction was rolled back") from error
        raise
    ctx.close_door(door)


@asynccontextmanager
async def transaction(ctx: "JobContext", source: Any) -> AsyncIterator[Any]:
    """See `JobContext.transaction`."""
    with completing(ctx):
        async with _connection(source) as con:
            database = _Async(con)
            database.check_idle()
            async with con.transaction():
                yield con
                await database.row(COMPLETE, ctx.job_id, ctx.lease_epoch, await ctx.kept_door_result())


@contextmanager
def transaction_blocking(ctx: "JobContext", source: Any) -> Iterator[Any]:
    """See `JobContext.transaction_blocking`."""
    with completing(ctx), source.connection() if _is_pool(source) else nullcontext(source) as con:
        database = _Blocking(con)
        database.check_idle()
        with con.transaction():
            yield con
            database.row(COMPLETE, ctx.job_id, ctx.lease_epoch, ctx.kept_door_result_blocking())


async def once(ctx: "JobContext", source: Any, effect: Callable[[Any], Awaitable[Any]], step: str) -> Any:
    """See `JobContext.once`."""
    place = (ctx.job_id, ctx.run, step)
    async with _connection(source) as con:
        database = _Async(con)
        database.check_idle()
        async with con.transaction():
            if await database.row(_BEGIN, *place, ctx.lease_epoch) is None:
                return _decoded(await database.row(_FOUND, *place))
            result = await effect(con)
            await database.row(_END, _encoded(result), *place)
    return result


def once_blocking(ctx: "JobContext", source: Any, effect: Callable[[Any], Any], step: str) -> Any:
    """See `JobContext.once_blocking`."""
    place = (ctx.job_id, ctx.run, step)
    with source.connection() if _is_pool(source) else nullcontext(source) as con:
        database = _Blocking(con)
        database.check_idle()
        with con.transaction():
            if database.row(_BEGIN, *place, ctx.lease_epoch) is None:
                return _decoded(database.row(_FOUND, *place))
            result = effect(con)
            database.row(_END, _encoded(result), *place)
    return result


class _Async:
    """A connection of asyncpg (`fetchrow`, `transaction`, `is_in_transaction`) or of psycopg (`execute` that gives a cursor, `transaction`, `info`)."""

    def __init__(self, con: Any) -> None:
        self._con = con
        self._asyncpg = hasattr(con, "fetchrow")
        if not hasattr(con, "transaction") or not (self._asyncpg or hasattr(con, "execute")):
            raise AgentError(f"a connection or pool of asyncpg or psycopg is wanted, found {type(con).__qualname__}; for others use ctx.completing()")

    def check_idle(self) -> None:
        """A transaction inside of another one would not be over at its end."""
        if self._con.is_in_transaction() if self._asyncpg else int(self._con.info.transaction_status) != 0:
            raise AgentError("the connection is in a transaction already: end it first, or use ctx.completing() around it")

    async def row(self, statement: str, *args: Any) -> Any:
        """The first row, or None."""
        if self._asyncpg:
            return await self._con.fetchrow(statement, *args)
        return await (await self._con.execute(_percent(statement), args)).fetchone()


class _Blocking:
    """A connection of psycopg without asyncio."""

    def __init__(self, con: Any) -> None:
        self._con = con
        if not hasattr(con, "transaction") or not hasattr(con, "info") or not hasattr(con, "execute"):
            raise AgentError(f"a connection or pool of psycopg is wanted, found {type(con).__qualname__}; for others use ctx.completing()")

    def check_idle(self) -> None:
        """As above."""
        if int(self._con.info.transaction_status) != 0:
            raise AgentError("the connection is in a transaction already: end it first, or use ctx.completing() around it")

    def row(self, statement: str, *args: Any) -> Any:
        """The first row, or None."""
        return self._con.execute(_percent(statement), args).fetchone()


def _connection(source: Any) -> Any:
    """A connection for the time of a block: of a pool, or the one that was given."""
    if hasattr(source, "acquire"):
        return source.acquire()
    return source.connection() if _is_pool(source) else nullcontext(source)


def _is_pool(source: Any) -> bool:
    return hasattr(source, "connection") and not hasattr(source, "execute")


def _percent(statement: str) -> str:
    """The statement with psycopg's placeholders: the numbers stand in order, each once."""
    for number in range(1, 5):
        statement = statement.replace(f"${number}", "%s")
    return statement


def _is_lease_lost(error: BaseException | None) -> bool:
    """Whether a driver's error, or the one that a framework wrapped, says so."""
    while error is not None:
        if LEASE_LOST in (getattr(error, "sqlstate", None), getattr(getattr(error, "orig", None), "sqlstate", None)):
            return True
        error = error.__cause__
    return False


def _encoded(result: Any) -> bytes:
    try:
        return codec.encode(result)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise AgentError(f"what an effect returns is kept, so it must be JSON: {error}") from error


def _decoded(row: Any) -> Any:
    return json.loads(row[0]) if row[0] else None
