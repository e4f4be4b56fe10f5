"""What is submitted while the owner has enough in hand: it waits a little, or is refused at once.

The owner says that it is full (`Busy`). Who asked over a stream then waits beside others who do, so that a burst costs time and not errors. That room is small and the
wait is short: under a load that lasts, all the rest is refused before anything is made of it, and the stream that brought it is not read for a while (`shards.pressure`).
Unary submits do not wait; there are at most MAX_CALLS of them at a time, since each costs some 20 kB until it is answered, and those that find the broker full are
refused unread. What is not submitted (outcomes, heartbeats, changes, reads) passes by all of this.
"""

import asyncio
from types import TracebackType
from typing import Protocol

from headrace_broker.model.errors import Busy
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.pressure import RETRY_S, Pressure

PATIENCE_S = 1.0
MAX_REQUESTS = 500
MAX_BYTES = 4 * 1024 * 1024
"""On the wire; in memory a request takes about three times as much. More than is taken within PATIENCE_S would wait in vain."""
MAX_CALLS = 2000


class Sized(Protocol):
    """A message."""

    def ByteSize(self) -> int:  # noqa: N802  # protobuf's own name
        """How large it is on the wire."""


class Lobby:
    """Requests of streams that wait until the owner takes them. One for each broker."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0

    @property
    def full(self) -> bool:
        """Whether nobody else may wait."""
        return self.requests >= MAX_REQUESTS or self.bytes >= MAX_BYTES

    def patience(self, request: Sized) -> "LobbyPatience":
        """That of one request; use as a context manager."""
        return LobbyPatience(self, request)


class Patience:
    """How long one request waits, over all of its jobs, while the owner has enough in hand: not at all."""

    async def wait(self, owner: Owner, jobs: int, error: Busy) -> None:
        """Comes back when it is worth asking again for so many jobs. Raises `error` when this has waited for long enough, or may not wait."""
        raise error


class EndlessPatience(Patience):
    """Waits for as long as it takes."""

    async def wait(self, owner: Owner, jobs: int, error: Busy) -> None:
        await owner.room.wait(jobs, None)


class LobbyPatience(Patience):
    """Waits for PATIENCE_S, if there is room in the lobby. To be entered for as long as the request is in hand."""

    def __init__(self, lobby: Lobby, request: Sized) -> None:
        self._lobby = lobby
        self._request = request
        self._size = -1  # in the lobby: how large it is
        self._until = 0.0

    def __enter__(self) -> "LobbyPatience":
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._size >= 0:
            self._lobby.requests -= 1
            self._lobby.bytes -= self._size
        del self._request  # its jobs are queued or refused

    async def wait(self, owner: Owner, jobs: int, error: Busy) -> None:
        now = asyncio.get_running_loop().time()
        if self._size < 0:
            self._enter(now, error)
        elif now >= self._until:
            raise error
        await owner.room.wait(jobs, self._until)

    def _enter(self, now: float, error: Busy) -> None:
        lobby = self._lobby
        if lobby.full:
            raise error
        self._size = self._request.ByteSize()
        self._until = now + PATIENCE_S
        lobby.requests += 1
        lobby.bytes += self._size


class Reading:
    """When the next request of one stream is read."""

    def __init__(self) -> None:
        self._until = 0.0

    def refused(self, pressure: Pressure) -> None:
        """A whole request was refused for want of room."""
        self._until = max(self._until, asyncio.get_running_loop().time() + pressure.pause_s())

    async def turn(self) -> None:
        """Comes back when the stream may be read again."""
        while (left := self._until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)


class UnaryCalls:
    """Unary submits that are under way. Enter it for each; raises Busy when there are too many."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether there may not be one more."""
        return self.count >= MAX_CALLS

    def busy(self) -> Busy:
        """Why a further one is refused."""
        return Busy(f"{self.count} calls that submit are under way; try again shortly, or submit over a stream", retry_after_s=RETRY_S)

    def __enter__(self) -> None:
        if self.full:
            raise self.busy()
        self.count += 1

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.count -= 1
