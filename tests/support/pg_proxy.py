"""A proxy before Postgres that knows requests from answers, and can break a connection at any point of one.

What it understands of the protocol (PostgreSQL manual, "Message Formats"): the start-up packet with its parameters, and the framing of all later messages. The client's
messages up to Sync or a simple Query are one request; the server's up to ReadyForQuery are its answer. Only at ReadyForQuery is a commit known to have taken effect:
CommandComplete comes before it. What to do with a request is decided by a function, which is told whose it is and which statement it runs.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

CANCEL, SSL, GSS = 80877102, 80877103, 80877104  # codes of start-up packets that begin no session
REQUEST_ENDS = b"SQH"  # Sync, Query, Flush
LATE_S = 0.03
FLUSH = "insert into headrace.flush "
KEYED_FLUSH = "insert into headrace.idempotency_key"
LANDED = "select at from headrace.flush where life_id "


class Fate(Enum):
    """What becomes of one request."""

    PASS = "pass"
    CUT_BEFORE = "cut before"  # the server never sees it
    CUT_LATE = "cut late"  # the client is cut off at once, the server gets the request a moment later, and keeps its side open
    CUT_AFTER = "cut after"  # it takes effect, and the answer is thrown away
    CUT_INSIDE = "cut inside"  # half of the answer arrives
    STALL = "stall"  # it is held back until `resume`, and so is the news if the server ends the connection
    STALL_ANSWER = "stall answer"  # it takes effect, and the answer is held back until `resume`


CUTS = (Fate.CUT_BEFORE, Fate.CUT_LATE, Fate.CUT_AFTER, Fate.CUT_INSIDE)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: the connection's application_name, the text of its statement, whether it is larger than the smallest one of that statement so far, and which
    connection it is."""

    application: str
    statement: str
    larger: bool
    connection: int = 0

    @property
    def is_flush(self) -> bool:
        """Whether a broker sends facts with it, or proves that it lives."""
        return self.application == "headrace flush" and FLUSH in self.statement

    @property
    def is_plain_flush(self) -> bool:
        """Whether it carries facts, but no jobs with keys. Not to be asked before the broker was idle for once: what is empty is known by comparison."""
        return self.is_flush and not self.is_keyed_flush and self.larger

    @property
    def is_keyed_flush(self) -> bool:
        """Whether it stores jobs with keys."""
        return self.is_flush and KEYED_FLUSH in self.statement

    @property
    def asks_for_a_flush(self) -> bool:
        """Whether it asks if a flush was stored."""
        return LANDED in self.statement


def let_pass(_request: Request) -> Fate:
    """Nothing is broken."""
    return Fate.PASS


class PgProxy:
    """Listens on a loopback port while used as a context manager. `fate` decides about each request; `refusing` turns new connections away."""

    def __init__(self, database: str) -> None:
        """`database`: DSN of a server that listens on a UNIX socket."""
        parts = urlsplit(database)
        self._user, self._database = parts.username, parts.path
        self._server_socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self.fate: Callable[[Request], Fate] = let_pass
        self.refusing = False
        self.resume = asyncio.Event()  # lets go what is stalled
        self.done: Counter[Fate] = Counter()
        self.stalled = 0
        self.smallest: dict[str, int] = {}  # statement -> size in bytes of the smallest request with it
        self._connections: dict[_Connection, asyncio.Task[object]] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        self.resume.set()
        if self._connections:
            await asyncio.wait(self._connections.values())

    @property
    def dsn(self) -> str:
        """The same database through this proxy."""
        assert self._server is not None
        return f"postgresql://{self._user}@127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._database}"

    @property
    def cuts(self) -> int:
        """Connections cut by `fate`."""
        return sum(self.done[fate] for fate in CUTS)

    @property
    def saw_a_flush(self) -> bool:
        """Whether any flush passed."""
        return any(FLUSH in statement for statement in self.smallest)

    def cut_all(self) -> None:
        """Cuts every connection now."""
        for connection in list(self._connections):
            connection.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            if not self.refusing:
                await connection.run(self._server_socket)
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side has gone
        finally:
            connection.cut()
            del self._connections[connection]


class _Connection:
    """One client and its backend. One task reads each side; the server's side forwards, or collects the answer to the request that is under way."""

    def __init__(self, proxy: PgProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._application = ""
        self._statements: dict[bytes, str] = {}  # prepared ones by name
        self._fate = Fate.PASS  # of the request whose answer is awaited

    def cut(self, *, server: bool = True) -> None:
        """Breaks the connection without a farewell."""
        for _, writer in (self._client, *((self._server,) if server and self._server is not None else ())):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family == socket.AF_INET and not writer.transport.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, and nothing that was not sent yet
            writer.transport.abort()

    async def run(self, server_socket: str) -> None:
        """Until either side ends."""
        startup = await self._read_startup()
        self._server = await asyncio.open_unix_connection(server_socket)
        self._server[1].write(startup)
        async with asyncio.TaskGroup() as tasks:
            answers = tasks.create_task(self._pump_answers(self._server[0]))
            try:
                await self._pump_requests(self._client[0], self._server[1])
            except (OSError, asyncio.IncompleteReadError):
                if self._fate is Fate.PASS:
                    self.cut()
            await answers

    async def _read_startup(self) -> bytes:
        reader, writer = self._client
        while True:
            head = await reader.readexactly(8)
            length, code = struct.unpack("!ii", head)
            body = await reader.readexactly(length - 8)
            if code not in (SSL, GSS):
                break
            writer.write(b"N")
        if code != CANCEL:
            words = body.split(b"\0")
            parameters = dict(zip(words[::2], words[1::2], strict=False))
            self._application = parameters.get(b"application_name", b"").decode()
        return head + body

    async def _pump_requests(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        request, statement = bytearray(), ""
        while True:
            kind, message = await _read_message(reader)
            request += message
            statement = self._statement_of(kind, message) or statement
            if kind[0] in REQUEST_ENDS or kind in b"pX":
                smallest = self._proxy.smallest[statement] = min(self._proxy.smallest.get(statement, len(request)), len(request))
                await self._handle(Request(self._application, statement, len(request) > smallest, id(self)), bytes(request), server)
                request, statement = bytearray(), ""

    def _statement_of(self, kind: bytes, message: bytes) -> str:
        """The text of the statement that a message is about; remembers what is prepared."""
        if kind == b"Q":
            return message[5:-1].decode(errors="replace")
        if kind == b"P":
            name, text = message[5:].split(b"\0", 2)[:2]
            self._statements[name] = text.decode(errors="replace")
            return ""  # preparing it does nothing yet
        if kind == b"B":
            return self._statements.get(message[5:].split(b"\0", 2)[1], "")
        return ""

    async def _handle(self, request: Request, message: bytes, server: asyncio.StreamWriter) -> None:
        proxy = self._proxy
        fate = self._fate = proxy.fate(request)
        proxy.done[fate] += 1
        if fate is Fate.CUT_BEFORE:
            self.cut()
            return
        if fate is Fate.CUT_LATE:
            self.cut(server=False)
            await asyncio.sleep(LATE_S)
        elif fate is Fate.STALL:
            await self._stall()
        server.write(message)
        await server.drain()

    async def _pump_answers(self, reader: asyncio.StreamReader) -> None:
        client = self._client[1]
        held = bytearray()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind, message = await _read_message(reader)
                if self._fate in (Fate.PASS, Fate.STALL):
                    client.write(message)
                    await client.drain()
                    continue
                held += message
                if kind == b"Z":
                    await self._end_answer(bytes(held))
                    held.clear()
        if self._fate in (Fate.STALL, Fate.STALL_ANSWER):  # nothing comes through, and no end either
            await self._proxy.resume.wait()
        self.cut()

    async def _end_answer(self, answer: bytes) -> None:
        """All of the answer is here, so what was asked has taken effect."""
        client = self._client[1]
        if self._fate is Fate.STALL_ANSWER:
            await self._stall()
            self._fate = Fate.PASS
            client.write(answer)
            return
        if self._fate is Fate.CUT_INSIDE:
            client.write(answer[: len(answer) // 2])
            await client.drain()
            client.close()  # so that what was written arrives
        self.cut(server=self._fate is not Fate.CUT_LATE)

    async def _stall(self) -> None:
        self._proxy.stalled += 1
        await self._proxy.resume.wait()


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """(type, whole message)."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
