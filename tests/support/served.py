"""A gRPC server of this process, for services and handlers that do what a test's script says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc


@asynccontextmanager
async def served(add: Callable[[grpc.aio.Server], object]) -> AsyncIterator[str]:
    """The address of a server to which `add` has added what it serves."""
    server = grpc.aio.server()
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
