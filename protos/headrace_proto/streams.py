"""How a stream that one writes to has ended, as the other side said it.

A stream may be refused, or ended, while a message is still on its way. gRPC's asyncio client then fails that write, and puts a status of its own in place of the one that
came, or that is about to come: INTERNAL, "Internal error from Core", without the reason (https://github.com/grpc/grpc/issues/36066). What came is still told to those who
asked to be told of the end.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc

HIDDEN = "Internal error from Core"
"""What the client says in place of the other side."""
GRACE_S = 1.0
"""How long the other side's word is waited for: it comes within the same moment, unless the client failed all by itself, or answers were not read to their end."""


class StreamEnd:
    """The end of one call; made with the call, before anything of it is awaited."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._said: grpc.aio.AioRpcError | None = None
        self._known = asyncio.Event()
        call.add_done_callback(self._look)

    async def error(self) -> grpc.aio.AioRpcError | None:
        """How the call has ended, once it has; None: well."""
        await self._call.code()
        if self._said is None and await self._call.details() == HIDDEN:
            try:
                async with asyncio.timeout(GRACE_S):
                    await self._known.wait()
            except TimeoutError:
                pass
        said = self._said or await _status(self._call)
        return None if said.code() is grpc.StatusCode.OK else said

    async def instead_of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """What the other side said, in place of an error that the call raised."""
        return await self.error() or error if error.details() == HIDDEN else error

    def _look(self, call: Any) -> None:
        """Called with each status that the call is given, which the next one would hide."""
        said = _known(_status(call))
        if self._said is None and said is not None and said.details() != HIDDEN:
            self._said = said
            self._known.set()


async def _status(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details())


def _known(answer: Coroutine[Any, Any, grpc.aio.AioRpcError]) -> grpc.aio.AioRpcError | None:
    """What a coroutine returns that has nothing to wait for; None: it has."""
    try:
        answer.send(None)
    except StopIteration as end:
        return end.value
    answer.close()
    return None
