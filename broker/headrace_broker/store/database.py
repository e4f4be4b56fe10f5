"""The servers that a database URL names, of which one at a time takes writes; every connection of a broker is made here.

A server that fails over does not say so: it is gone, or it is frozen and its connections stay open and silent, or it comes back as a standby. So:

- `connect` asks the servers of the URL one after another, the one that answered last first, each `STAGGER_S` after the one before or as soon as that one has failed, and
  takes the first that answers and takes writes (as RFC 8305 does with addresses). A frozen server, which accepts connections and says nothing, costs `STAGGER_S`.
- Whoever reaches another server than before lets go of all connections to the former one: what waits for an answer on them ends with an error, idle ones are dropped.
- `follow` asks the server each `PROBE_S` whether it is there, over a connection of its own, and connects anew when no answer comes within `SILENT_S`. So all connections
  are let go within about `PROBE_S + SILENT_S + STAGGER_S` once another server takes writes, whoever waits for what.
- A server of an older timeline than one that was seen was the primary once: it is passed over, although it takes writes while it does not know yet.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
import structlog

from headrace_broker.model.addresses import READ_WRITE, each_server, shown

STAGGER_S = 0.3
PROBE_S = 1.0
SILENT_S = 2.0
CONNECT_S = 5.0
IDENTITY = "select pg_postmaster_start_time(), (select system_identifier from pg_control_system()), pg_walfile_name(pg_current_wal_lsn())"
AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TargetServerAttributeNotMatched,
    OSError,
    TimeoutError,
)
"""What is raised while no server takes writes."""

log = structlog.get_logger("headrace.database")


class Nowhere(OSError):
    """None of several servers takes writes; the text says what each of them answered."""


class Former(OSError):
    """This server takes writes, but another one was promoted since."""


class Database:
    """The servers of one URL. Written by whoever connects, all on one event loop."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._servers = each_server(dsn)
        self._made: WeakKeyDictionary[asyncpg.Connection[Any], object] = WeakKeyDictionary()  # connection -> its server's start: no two servers share one
        self._server: object = None  # the start of the one that was reached last
        self._timelines: dict[int, int] = {}  # by cluster: the newest one that was seen

    @classmethod
    def of(cls, dsn: "str | Database") -> "Database":
        """This one, or a new one for the URL."""
        return dsn if isinstance(dsn, Database) else cls(dsn)

    async def connect(self, _dsn: str = "", /, *, timeout: float = CONNECT_S, **options: Any) -> "asyncpg.Connection[Any]":
        """A connection to the server that takes writes; `options` as for `asyncpg.connect`. Fits `asyncpg.create_pool(connect=...)`.

        Raises:
            What asyncpg raises, when there is one server. Nowhere: none of several takes writes. TimeoutError.
        """
        async with asyncio.timeout(timeout):
            reached = await self._first(timeout, options)
        self._made[reached.con] = reached.started
        self._timelines[reached.cluster] = reached.timeline
        if reached.started != self._server:
            if self._server is not None:
                log.warning("the database is at another server: letting go of the former one", at=shown(self._servers[0]), timeline=reached.timeline)
            self._server = reached.started
            self._let_go()
        return reached.con

    async def follow(self) -> None:
        """Asks whether the server is there until cancelled; connects anew when it is not, and so moves all connections when another one has become the primary."""
        con: asyncpg.Connection[Any] | None = None
        try:
            while True:
                try:
                    if con is None:
                        con = await self.connect(server_settings={"application_name": "headrace probe"})
                    async with asyncio.timeout(SILENT_S):
                        if await con.fetchval("select pg_is_in_recovery()"):
                            raise ConnectionError("the server has become a standby")
                except (*AWAY, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    log.debug("the database does not answer", reason=f"{type(error).__name__}: {error}")
                    if con is not None:
                        con.terminate()
                        con = None
                        continue
                await asyncio.sleep(PROBE_S)
        finally:
            if con is not None:
                con.terminate()

    def _let_go(self) -> None:
        for con, server in list(self._made.items()):
            if server != self._server and not con.is_closed():
                con.terminate()

    async def _first(self, timeout: float, options: dict[str, Any]) -> "Reached":
        """The first server that answers and takes writes comes first from now on."""
        if len(self._servers) == 1:
            return await self._try(self._servers[0], timeout, options)
        waiting, errors = deque(self._servers), dict[str, BaseException]()
        trying: dict[asyncio.Task[Reached], str] = {}
        try:
            while waiting or trying:
                if waiting:
                    server = waiting.popleft()
                    trying[asyncio.ensure_future(self._try(server, timeout, options))] = server
                done, _ = await asyncio.wait(trying, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None:
                        server = trying.pop(task)
                        self._servers.sort(key=lambda each: each != server)
                        return task.result()
                    errors[trying.pop(task)] = error
        finally:
            await _abandon(list(trying))
        unlike = [error for error in errors.values() if not isinstance(error, AWAY)]
        if len(unlike) == len(errors):  # such as a wrong password: that it is tried again helps nobody
            raise unlike[0]
        raise Nowhere("no server takes writes: " + "; ".join(f"{shown(server)}: {error or type(error).__name__}" for server, error in errors.items()))

    async def _try(self, server: str, timeout: float, options: dict[str, Any]) -> "Reached":
        con = await asyncpg.connect(server, timeout=timeout, target_session_attrs=READ_WRITE, **options)
        try:
            reached = Reached(con, *await _identity(con))
            newest = self._timelines.get(reached.cluster, 0)
            if reached.timeline < newest:
                raise Former(f"was the primary of timeline {reached.timeline}; timeline {newest} has begun since")
            return reached
        except BaseException:
            con.terminate()
            raise


@dataclass(frozen=True, slots=True)
class Reached:
    """A connection, and to whom: when the server was started, and its cluster and timeline (0: it does not say)."""

    con: "asyncpg.Connection[Any]"
    started: object
    cluster: int
    timeline: int


async def _identity(con: "asyncpg.Connection[Any]") -> tuple[object, int, int]:
    """(when the server was started, its cluster, its timeline); services that are Postgres only in part may not tell the latter two."""
    try:
        started, cluster, segment = await con.fetchrow(IDENTITY)
        return started, cluster, int(segment[:8], 16)
    except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError, asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError):
        return await con.fetchval("select pg_postmaster_start_time()"), 0, 0


async def _abandon(tasks: Sequence[asyncio.Task[Reached]]) -> None:
    """Ends attempts that are not needed any more; what they have reached meanwhile is closed."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and task.exception() is None:
            task.result().con.terminate()
