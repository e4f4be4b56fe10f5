"""Peers that misuse a connection of the HTTP listener: each loses it, and nobody else notices."""

import asyncio
import functools
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec

import httpx
import pytest
import trustme
import uvloop
from headrace_broker.listener import ROOM, Bounds, HttpServer, Wanted
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.support.processes import BrokerProcess, pause, running, start_broker, until

P = ParamSpec("P")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LARGE = 64 * 1024 * 1024
"""More than sockets hold by themselves."""


class Listener:
    """A server with pages that wait and pages that are large. `told` are the reasons for which it ended connections; `go` lets those that wait go on. Connections that a
    test opens are closed with it."""

    def __init__(self, bounds: Bounds, tls: ssl.SSLContext | None = None) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.go = asyncio.Event()
        self.at_work = 0
        self._opened: list[Stream] = []
        routes = [Route("/", self._at_once), Route("/slow", self._slow), Route("/form", self._form, methods=["POST"]), Route("/large", self._large)]
        self.server = HttpServer(Starlette(routes=routes), "127.0.0.1", 0, tls, bounds=bounds, ended=self.told.put_nowait)

    async def connect(self) -> Stream:
        """A connection that says nothing yet."""
        host, _, port = self.server.address.rpartition(":")
        self._opened.append(await asyncio.open_connection(host, int(port)))
        return self._opened[-1]

    def end(self) -> None:
        """With the test."""
        for _, writer in self._opened:
            writer.close()
        self.go.set()
        self.server.should_exit = True

    async def reason(self) -> str:
        """The next reason."""
        async with asyncio.timeout(30):
            return await self.told.get()

    @staticmethod
    async def _at_once(_request: Request) -> Response:
        return PlainTextResponse("here")

    async def _slow(self, _request: Request) -> Response:
        self.at_work += 1
        await self.go.wait()
        return PlainTextResponse("at last")

    @staticmethod
    async def _form(request: Request) -> Response:
        return PlainTextResponse(f"{len(await request.body())} bytes")

    @staticmethod
    async def _large(_request: Request) -> Response:
        return Response(b"x" * LARGE)


def as_in_a_broker(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs a test in the loop that brokers have."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def serving(bounds: Bounds, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    """One that serves until the end of the block."""
    listener = Listener(bounds, tls)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.server.run_until_told())
        try:
            yield listener
        finally:
            listener.end()


async def gone(stream: Stream, *, send: bytes = b"") -> None:
    """Returns when the other end has closed the connection. `send`: what is sent meanwhile, byte after byte, again and again."""
    reader, writer = stream
    async with asyncio.timeout(30):
        try:
            at = 0
            while True:
                if send:
                    writer.write(send[at : at + 1])
                    at = (at + 1) % len(send)
                try:
                    async with asyncio.timeout(0.05 if send else None):
                        if not await reader.read(65536):
                            return
                except TimeoutError:
                    pass
        except OSError:
            return
        finally:
            writer.close()


async def ask(stream: Stream, path: str = "/") -> str:
    """The answer to a request that keeps the connection."""
    reader, writer = stream
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return (await reader.readexactly(length)).decode()


async def _silent(stream: Stream) -> None:
    await gone(stream)


async def _byte_by_byte(stream: Stream) -> None:
    await gone(stream, send=b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 10_000)


async def _second_head(stream: Stream) -> None:
    """As whoever knows that uvicorn forgets its own limit with the first byte."""
    assert await ask(stream) == "here"
    await gone(stream, send=b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 10_000)


async def _endless_body(stream: Stream) -> None:
    stream[1].write(b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    await gone(stream, send=b"z")


async def _silent_body(stream: Stream) -> None:
    stream[1].write(b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    await gone(stream)


async def _body_after_the_answer(stream: Stream) -> None:
    stream[1].write(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    await gone(stream, send=b"1\r\nz\r\n")


async def _deaf(stream: Stream) -> None:
    """Reads nothing of what it has asked for, and is only heard of when it does."""
    stream[1].write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(stream[0].readuntil(b"\r\n\r\n"), 30)


PEERS = [
    (_silent, Wanted.HEAD), (_byte_by_byte, Wanted.HEAD), (_second_head, Wanted.HEAD), (_endless_body, Wanted.BODY), (_silent_body, Wanted.BODY),
    (_body_after_the_answer, Wanted.BODY), (_deaf, Wanted.ANSWER),
]  # fmt: skip


@pytest.mark.parametrize(("peer", "why"), PEERS)
@as_in_a_broker
async def test_who_keeps_the_broker_waiting_is_disconnected_and_who_waits_for_the_broker_is_not(
    peer: Callable[[Stream], Awaitable[None]], why: Wanted
) -> None:  # fmt: skip
    async with serving(Bounds(head=0.2, body=0.2, answer=0.2)) as listener, asyncio.TaskGroup() as tasks:
        patient = await listener.connect()
        answer = tasks.create_task(ask(patient, "/slow"))
        await until(lambda: _is(listener.at_work == 1))
        stream = await listener.connect()
        await peer(stream)
        assert await listener.reason() == why
        assert not answer.done()
        listener.go.set()
        assert await answer == "at last"


@as_in_a_broker
async def test_a_connection_that_is_used_again_and_again_lasts() -> None:
    async with serving(Bounds(head=1.0)) as listener:
        stream = await listener.connect()
        loop = asyncio.get_running_loop()
        end = loop.time() + 3
        while loop.time() < end:
            assert await ask(stream) == "here"
            await pause()
        assert listener.told.empty()


@as_in_a_broker
async def test_where_all_places_are_taken_those_who_wait_the_longest_for_nothing_give_theirs() -> None:
    async with serving(Bounds(connections=20)) as listener, asyncio.TaskGroup() as tasks:
        busy = [tasks.create_task(ask(await listener.connect(), "/slow")) for _ in range(10)]
        await until(lambda: _is(listener.at_work == 10))
        silent = [await listener.connect() for _ in range(100)]
        assert await ask(await listener.connect()) == "here"
        assert len(listener.server.open) <= 20
        await gone(silent[0])
        more = [tasks.create_task(ask(await listener.connect(), "/slow")) for _ in range(10)]
        await until(lambda: _is(listener.at_work == 20))
        await gone(await listener.connect())  # the broker is at work for all
        assert not any(task.done() for task in (*busy, *more))
        listener.go.set()
        assert {await task for task in (*busy, *more)} == {"at last"}
        assert await ask(await listener.connect()) == "here"
        assert {listener.told.get_nowait() for _ in range(listener.told.qsize())} == {ROOM}


def encrypted() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(what a server has, what its clients have)."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return context, trusting


@as_in_a_broker
async def test_half_a_handshake_takes_a_place_for_so_long_only() -> None:
    context, trusting = encrypted()
    async with serving(Bounds(connections=10, handshake=1.0), context) as listener:
        files = _files()
        silent = [await listener.connect() for _ in range(50)]
        async with httpx.AsyncClient(base_url=listener.server.url, verify=trusting, timeout=20) as client:
            assert (await client.get("/")).text == "here", "silent ones have given their places"
            assert len(listener.server.open) <= 10
            plain = await listener.connect()
            plain[1].write(b"GET / HTTP/1.1\r\n\r\n")
            for stream in (plain, *silent):
                await gone(stream)
            assert (await client.get("/")).text == "here"
        await until(lambda: _is(_files() < files + 10 and not listener.server.open))
        assert {listener.told.get_nowait() for _ in range(listener.told.qsize())} == {ROOM, Wanted.HANDSHAKE}


async def ask_over_tls(stream: Stream, trusting: ssl.SSLContext, request: bytes) -> None:
    """Sends a request and hears its answer. That the server ends the connection is not answered, as TLS has it."""
    reader, writer = stream
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    asked = False
    async with asyncio.timeout(30):
        while True:
            try:
                if not asked:
                    tls.do_handshake()
                    asked = bool(tls.write(request))
                writer.write(outgoing.read())
                assert tls.read().startswith(b"HTTP/1.1 ")
                return
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                came = await reader.read(65536)
                assert came, "it was ended before it was answered"
                incoming.write(came)


@as_in_a_broker
async def test_who_does_not_end_what_was_ended_for_them_gives_their_place() -> None:
    context, trusting = encrypted()
    async with serving(Bounds(connections=4), context) as listener:
        for request in (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"no request\r\n\r\n") * 2:
            await ask_over_tls(await listener.connect(), trusting, request)
        assert len(listener.server.open) == 4 and listener.told.empty()
        async with httpx.AsyncClient(base_url=listener.server.url, verify=trusting, timeout=20) as client:
            assert (await client.get("/")).text == "here"
        assert await listener.reason() == ROOM


async def test_more_silent_connections_than_may_be_keep_nobody_from_the_pages(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker: BrokerProcess = await start_broker(directory, database=database)
    await stack.enter_async_context(running(broker))
    host, _, port = broker.ready["http"].rpartition(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(Bounds().connections + 150)]  # a process may have 1,024 files open, mostly
    try:
        async with httpx.AsyncClient(base_url=f"http://{broker.ready['http']}", timeout=20) as client:
            assert (await client.get("/login")).status_code == (await client.get("/readyz")).status_code == 200
            found = (await client.get("/metrics")).text
        [count] = [line.split()[-1] for line in found.splitlines() if line.startswith('headrace_http_connections_ended_total{reason="room"}')]
        assert float(count) >= 150
    finally:
        for _, writer in silent:
            writer.close()


async def test_who_leaves_in_the_middle_of_a_form_is_no_error(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker: BrokerProcess = await start_broker(directory, database=database)
    await stack.enter_async_context(running(broker))
    host, _, port = broker.ready["http"].rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    kind = "application/x-www-form-urlencoded"
    writer.write(f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}:{port}\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\nname=a".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with httpx.AsyncClient(base_url=f"http://{broker.ready['http']}", timeout=20) as client:
        assert (await client.get("/login")).status_code == 200
    await broker.stop()
    assert "Traceback" not in broker.log.read_text()


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _is(value: bool) -> bool:
    return value


async def test_a_form_is_no_longer_than_it_may_be_whatever_it_says_and_has_one_encoding(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker: BrokerProcess = await start_broker(directory, database=database)
    await stack.enter_async_context(running(broker))
    host, _, port = broker.ready["http"].rpartition(":")
    begin = f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}:{port}\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{begin}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for chunk in (b"name=ada&password=" + b"x" * 40_000, b""):
        writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()
    body = '--b\r\nContent-Disposition: form-data; name="token"\r\n\r\n\\ud800\r\n--b--\r\n'
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{begin}Content-Type: multipart/form-data; boundary=b; charset=unicode_escape\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    async with asyncio.timeout(20):
        assert (await reader.readline()).startswith(b"HTTP/1.1 403 ")
    writer.close()
    await broker.stop()
    assert "Traceback" not in broker.log.read_text()
