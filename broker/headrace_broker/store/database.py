"""The servers that a database URL names, of which one at a time takes writes; every connection of a broker is made here.

A server that fails over does not say so: it is gone, or it is frozen and its connections stay open and silent, or it comes back as a standby. So:

- `connect` asks the servers of the URL one after another, the one that answered last first, each `STAGGER_S` after the one before or as soon as that one has failed, and takes the
  first that answers and takes writes (as RFC 8305 does with addresses). A frozen server, which accepts connections and says nothing, costs `STAGGER_S`.
- Whoever reaches another server than before lets go of all connections to the former one: what waits for an answer on them ends with an error, idle ones are never used again.
- `follow` asks the server each `PROBE_S` whether it is there, over a connection of its own, and connects anew when no answer comes within `SILENT_S`. So all connections are let go within
  about `PROBE_S + SILENT_S + STAGGER_S` once another server takes writes, whoever waits for what.
- A server of an older timeline than one that was seen was the primary once: it is passed over, although it takes writes while it does not know yet.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from weakref import WeakKeyDictionary

import asyncpg
import structlog

STAGGER_S = 0.3
PROBE_S = 1.0
SILENT_S = 2.0
CONNECT_S = 5.0
READ_WRITE = "read-write"
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
        self._timeline = 0

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
            con, server, timeline = await self._first(timeout, options)
        self._made[con] = server
        self._timeline = max(self._timeline, timeline)
        if server != self._server:
            if self._server is not None:
                log.warning("the database is at another server: letting go of the former one", at=masked_host(self._servers[0]), timeline=timeline)
            self._server = server
            self._let_go()
        return con

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

    async def _first(self, timeout: float, options: dict[str, Any]) -> "tuple[asyncpg.Connection[Any], object, int]":
        """The first server that answers and takes writes comes first from now on."""
        if len(self._servers) == 1:
            return await self._try(self._servers[0], timeout, options)
        waiting, errors = deque(self._servers), dict[str, BaseException]()
        trying: dict[asyncio.Task[tuple[asyncpg.Connection[Any], object, int]], str] = {}
        try:
            while waiting or trying:
                if waiting:
                    trying[asyncio.ensure_future(self._try(waiting[0], timeout, options))] = waiting.popleft()
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
        raise Nowhere("no server takes writes: " + "; ".join(f"{masked_host(server)}: {error or type(error).__name__}" for server, error in errors.items()))

    async def _try(self, server: str, timeout: float, options: dict[str, Any]) -> "tuple[asyncpg.Connection[Any], object, int]":
        con = await asyncpg.connect(server, timeout=timeout, target_session_attrs=READ_WRITE, **options)
        try:
            started, timeline = await _identity(con)
            if timeline < self._timeline:
                raise Former(f"was the primary of timeline {timeline}; timeline {self._timeline} has begun since")
            return con, started, timeline
        except BaseException:
            con.terminate()
            raise


def each_server(dsn: str) -> list[str]:
    """A URL for each host that a URL names, as libpq reads them: `HOST:PORT,HOST:PORT` before the path, or `host=` and `port=` with commas behind it."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    user, at, before = parts.netloc.rpartition("@")
    hosts = (before or query.get("host", "")).split(",")
    ports = query.get("port", "").split(",")
    if len(hosts) == 1:
        return [dsn]
    found = []
    for number, host in enumerate(hosts):
        own = {name: value for name, value in query.items() if name not in ("host", "port")}
        port = ports[number if len(ports) == len(hosts) else 0]
        if port:
            own["port"] = port
        if not before:
            own["host"] = host
        found.append(urlunsplit(parts._replace(netloc=user + at + (host if before else ""), query=urlencode(own))))
    return found


def asked_for(dsn: str) -> str:
    """Which kind of server the URL asks for (`target_session_attrs`); a broker needs one that takes writes, which is also what no word means."""
    return dict(parse_qsl(urlsplit(dsn).query)).get("target_session_attrs", READ_WRITE)


def masked_host(server: str) -> str:
    """Of a URL with one host: where it is, and nothing secret."""
    parts = urlsplit(server)
    query = dict(parse_qsl(parts.query))
    host = parts.netloc.rpartition("@")[2] or query.get("host", "")
    return f"{host}:{query['port']}" if "port" in query else host


async def _identity(con: "asyncpg.Connection[Any]") -> tuple[object, int]:
    """(when the server was started, its timeline; 0: it does not say)."""
    try:
        started, segment = await con.fetchrow("select pg_postmaster_start_time(), pg_walfile_name(pg_current_wal_lsn())")
        return started, int(segment[:8], 16)
    except (asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError, asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError):
        return await con.fetchval("select pg_postmaster_start_time()"), 0


async def _abandon(tasks: "Sequence[asyncio.Task[tuple[asyncpg.Connection[Any], object, int]]]") -> None:
    """Ends attempts that are not needed any more; what they have reached meanwhile is closed."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and task.exception() is None:
            task.result()[0].terminate()
