"""A TCP proxy that breaks connections as networks do: it stalls them, one way or both, delays what passes, cuts them with or without a farewell, and heals."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
CHUNKS = 256  # of one direction of a connection that are on the way; a sender that is faster waits


class Way:
    """One direction of all connections. While it is stalled nothing comes through, not even that the other side has closed: the connection is half open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.delay_s = 0.0
        self.jitter_s = 0.0  # up to this much longer, each chunk by chance; those of one connection stay in order
        self.seen: bytearray | None = None  # what came, of all connections; None: not kept


class Proxy:
    """Listens on a loopback port while used as a context manager, and connects to `target` ("host:port") for each connection."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.to_server = Way()
        self.to_client = Way()
        self.accepted = 0
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[object], list[asyncio.StreamWriter]] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))

    @property
    def address(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stall(self, *ways: Way) -> None:
        """Holds back everything, of one way if one is given, on connections that are open and on new ones."""
        for way in ways or (self.to_server, self.to_client):
            way.open.clear()

    def heal(self) -> None:
        """Lets pass what was held back, and what comes."""
        self.to_server.open.set()
        self.to_client.open.set()

    @contextlib.asynccontextmanager
    async def stalled_for(self, seconds: float, *ways: Way) -> AsyncIterator[None]:
        """Stalls while the body runs, and then until the time is over."""
        loop = asyncio.get_running_loop()
        self.stall(*ways)
        healing = loop.create_future()
        timer = loop.call_later(seconds, healing.set_result, None)
        try:
            yield
            await healing
        finally:
            timer.cancel()
            self.heal()

    def cut(self, *, reset: bool = True) -> int:
        """Ends all connections, with a reset or as if both sides had closed; returns how many."""
        cut = 0
        for writers in self._connections.values():
            cut += len(writers) == 2
            for writer in writers:
                if reset:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                else:
                    writer.close()
        return cut

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        writers = self._connections[task] = [writer]
        try:
            host, _, port = self.target.rpartition(":")
            server_reader, server_writer = await asyncio.open_connection(host, int(port))
            writers.append(server_writer)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(reader, server_writer, self.to_server))
                tasks.create_task(_pump(server_reader, writer, self.to_client))
        except OSError:
            pass  # the target is away
        except asyncio.CancelledError:
            pass  # the proxy closes
        finally:
            for item in writers:
                item.transport.abort()
            del self._connections[task]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    """Passes on what comes, each chunk `delay_s` after it came, and the end."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS)

    async def take_in() -> None:
        chunk = b"-"
        while chunk:
            try:
                chunk = await reader.read(CHUNK_BYTES)
            except OSError:
                chunk = b""
            if way.seen is not None:
                way.seen += chunk
            await on_the_way.put((loop.time() + way.delay_s + random.uniform(0, way.jitter_s), chunk))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take_in())
        while True:
            due, chunk = await on_the_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await way.open.wait()
            if not chunk:
                writer.close()
                return
            writer.write(chunk)
            with contextlib.suppress(OSError):  # the other side has gone: the reader of this one will see it
                await writer.drain()
