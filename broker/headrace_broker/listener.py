"""The HTTP listener: which connections there are, and for how long a peer may keep one waiting.

A connection waits for its peer until a request is in, head and body, and for as long as an answer has not been taken. Whoever takes longer for that than `Bounds` says
is disconnected: connections are looked at once a second. While the broker works on a request its connection waits for nobody: a page takes the time that it takes.

There are at most so many connections. One more ends some of those that have waited the longest for their peers: browsers and scrapers send their requests at once, so
those who open connections and say nothing are in each other's way, and in nobody else's. Only if the broker is at work for all of them the new one is closed.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

ROOM = "room"
"""Why a connection was ended that took no longer than it may."""
PART = 10
"""One of so many connections is ended where there is no room, so that not all are looked at for each that comes; of those that wait, the older half at most."""
AGAIN_S = 0.5
"""After a connection could not be accepted, as when the process has as many files open as it may."""

log = structlog.get_logger("headrace.http")


class Wanted(StrEnum):
    """What a connection waits for its peer to do."""

    HANDSHAKE = "handshake"  # become one, TLS included
    HEAD = "head"  # send a request's first line and headers
    BODY = "body"  # send the rest of it
    ANSWER = "answer"  # take what it was answered, the end included


@dataclass(frozen=True, slots=True)
class Bounds:
    """Connections at the same time; and for each of what is wanted of peers, seconds."""

    connections: int = 500
    handshake: float = 10.0
    head: float = 10.0
    body: float = 60.0
    answer: float = 60.0


class Connection(H11Protocol):
    """One connection, from the moment that it is accepted: since when (on the loop's clock) it waits for its peer, and for what (None: it does not)."""

    def __init__(self, server: "HttpServer", since: float) -> None:
        super().__init__(server.config, server.server_state, {})
        self.beginning: asyncio.Task[None] | None = None
        self.wanted: Wanted | None = Wanted.HANDSHAKE
        self.since = since
        self.made = False
        """Whether there is a transport, past the handshake of TLS."""
        self._request: object = None
        self._all = server.open

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Asyncio's."""
        super().connection_made(transport)
        self.made = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's."""
        super().connection_lost(exc)
        self._all.discard(self)

    def look(self, now: float) -> None:
        """Sets `wanted` and `since`. What is wanted again, of the next request, is wanted since that began."""
        wanted = self._wanted()
        if wanted is not self.wanted or self.cycle is not self._request:
            self.wanted, self._request, self.since = wanted, self.cycle, now

    def end(self) -> None:
        """Ends it at once, whatever is still to be sent."""
        self._all.discard(self)
        if self.made:
            self.transport.abort()
        elif self.beginning is not None:
            self.beginning.cancel()

    def _wanted(self) -> Wanted | None:
        if not self.made:
            return Wanted.HANDSHAKE
        if self.transport.get_write_buffer_size() or self.transport.is_closing():  # over TLS the peer ends it, too: until then nobody else has its place
            return Wanted.ANSWER
        return {"IDLE": Wanted.HEAD, "SEND_BODY": Wanted.BODY}.get(self.conn.their_state.__name__)  # as h11's documentation names the states


class HttpServer(uvicorn.Server):
    """Uvicorn inside a loop that is not its own: signals are the broker's business. It accepts connections itself (see the module). `tls` None: it is not encrypted;
    `ended` is told why connections are ended, a `Wanted` or ROOM."""

    def __init__(
        self, app: ASGIApp, host: str, port: int, tls: ssl.SSLContext | None = None, *, bounds: Bounds | None = None, ended: Callable[[str], None] | None = None
    ) -> None:  # fmt: skip
        super().__init__(uvicorn.Config(app, http="h11", ws="none", log_config=None, access_log=False, lifespan="off", proxy_headers=False, timeout_graceful_shutdown=2))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host.strip("[]"), port))
        self.socket.listen(self.config.backlog)
        self.socket.setblocking(False)
        self.address = f"{host}:{self.socket.getsockname()[1]}"
        self.url = f"{'https' if tls is not None else 'http'}://{self.address}"
        self.open: set[Connection] = set()
        self._tls = tls
        self._bounds = bounds or Bounds()
        self._told = ended or (lambda why: None)

    def install_signal_handlers(self) -> None:
        """None: see the class."""
        return

    async def run_until_told(self) -> None:
        """Serves until `should_exit` is set."""
        config = self.config
        if not config.loaded:
            config.load()
        self.lifespan = config.lifespan_class(config)
        self.servers = []  # none of asyncio's
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(self._accept(tasks))
            try:
                await self.main_loop()
            finally:
                accepting.cancel()
                for connection in list(self.open):
                    if not connection.made:
                        connection.end()
                await self.shutdown(sockets=[self.socket])

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second, from uvicorn's main loop; returns whether to end."""
        if counter % 10 == 0:
            for connection in self._waiting():
                if connection.wanted is not None and self._now() - connection.since > getattr(self._bounds, connection.wanted):
                    self._end(connection, connection.wanted)
        return await super().on_tick(counter)

    async def _accept(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                accepted, _ = await asyncio.get_running_loop().sock_accept(self.socket)
            except OSError as error:
                log.warning("a connection was not accepted", reason=str(error))
                self._make_room()
                await asyncio.sleep(AGAIN_S)
                continue
            if len(self.open) >= self._bounds.connections and not self._make_room():
                accepted.close()
                self._told(ROOM)
                continue
            connection = Connection(self, self._now())
            self.open.add(connection)
            connection.beginning = tasks.create_task(self._begin(connection, accepted))

    async def _begin(self, connection: Connection, accepted: socket.socket) -> None:
        """Makes it a connection that is served."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
        except OSError as error:  # what is wrong with TLS is one, too
            self.open.discard(connection)
            self._told(Wanted.HANDSHAKE)
            log.debug("a connection came to nothing", reason=str(error))

    def _waiting(self) -> list[Connection]:
        """Those that wait for their peers."""
        now = self._now()
        for connection in self.open:
            connection.look(now)
        return [connection for connection in self.open if connection.wanted is not None]

    def _make_room(self) -> bool:
        """Ends some of those that wait for their peers, and returns whether there were any."""
        waiting = sorted(self._waiting(), key=lambda connection: connection.since)
        for connection in waiting[: max(1, min(self._bounds.connections // PART, len(waiting) // 2))]:
            self._end(connection, ROOM)
        return bool(waiting)

    def _end(self, connection: Connection, why: str) -> None:
        connection.end()
        self._told(why)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
