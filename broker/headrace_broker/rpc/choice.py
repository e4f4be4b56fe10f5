"""With several shards: each has services of its own, and a call is for those of the shard in which its domain lies, here or at the broker that owns that shard.

The services know nothing of it. A call that begins something in a domain that there is not yet makes the domain first, so that what it stores lies where it belongs.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headrace_broker.rpc import convert
from headrace_broker.rpc.attest import FORWARDED_KEY
from headrace_broker.rpc.forward import Forwarder, Stream, Unary
from headrace_broker.rpc.standby import CONNECT, at_standby
from headrace_broker.shards.ownerships import Ownerships

MAKING = frozenset({
    "/headrace.v1.Jobs/Submit", "/headrace.v1.Jobs/SubmitMany", "/headrace.v1.Jobs/SubmitStream", "/headrace.v1.Jobs/WatchJobs", CONNECT, "/headrace.v1.Logs/TailLogs",
    "/headrace.v1.Admin/SetJobType", "/headrace.v1.Limits/Pause", "/headrace.v1.Limits/SetDomain", "/headrace.v1.Schedules/PutSchedule",
    "/headrace.v1.Operations/StartOperation", "/headrace.v1.Instances/SetInstancePriority", "/headrace.v1.Graph/CreateBatch", "/headrace.v1.Alerts/PutChannel",
    "/headrace.v1.Alerts/PutRule", "/headrace.v1.Alerts/AddSilence", "/externalscaler.ExternalScaler/StreamIsActive",
})  # fmt: skip
"""Calls that may be the first of their domain, and streams that may be open already when its first job comes."""
EVERYWHERE = "/headrace.v1.Testing/AdvanceClock"
"""Concerns all shards, so every broker is asked once."""


@dataclass(frozen=True, slots=True)
class _Details:
    """What a service is asked for a handler with."""

    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class Handlers:
    """Takes services as a server does, for one shard."""

    def __init__(self) -> None:
        self._services: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """As that of a server."""
        self._services += handlers

    def find(self, method: str) -> Any:
        """The handler of a call that the services have."""
        return next(handler for service in self._services if (handler := service.service(_Details(method))) is not None)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a call is served for one shard: `here`, or `elsewhere` while this broker stands by."""

    forwarder: Forwarder
    here: Any
    elsewhere: Any

    @property
    def now(self) -> Any:
        return self.elsewhere if self.forwarder.away else self.here


class Choice:
    """`forwarders`: of each shard; `others`: the services of each but the first, whose are the server's own."""

    def __init__(self, ownerships: Ownerships, forwarders: Sequence[Forwarder], others: Sequence[Handlers]) -> None:
        self._ownerships = ownerships
        self._forwarders = forwarders
        self._others = others

    def unary(self, method: str, first: Any, paid: Callable[[Unary], Unary], bytes_of: Callable[[Any], bytes]) -> Unary:
        """A call with one answer. `first`: its handler for the first shard; `paid` adds what comes before a service; `bytes_of`: as for `Forwarder.unary`."""
        places = []
        for forwarder, handler in self._each(method, first):
            here = paid(handler.unary_unary)
            elsewhere = forwarder.unary(method, here, bytes_of)
            places.append(_Place(forwarder, forwarder.unless_handed_over(here, elsewhere), elsewhere))
        if method == EVERYWHERE:
            return _everywhere(places)

        async def call(request: Any, context: Any) -> Any:
            return await places[await self._shard(method, context)].now(request, context)

        return call

    def stream(self, method: str, first: Any, paid: Callable[[Stream], Stream], bytes_of: Callable[[Any], bytes]) -> Stream:
        """A call with many answers."""
        places = []
        for forwarder, handler in self._each(method, first):
            here = paid(handler.stream_stream or handler.unary_stream)
            elsewhere = forwarder.stream(method, here, bytes_of, many=handler.request_streaming)
            places.append(_Place(forwarder, here, at_standby(forwarder.ownership, here, elsewhere) if method == CONNECT else elsewhere))

        async def call(requests: Any, context: Any) -> AsyncIterator[Any]:
            async for answer in places[await self._shard(method, context)].now(requests, context):
                yield answer

        return call

    def _each(self, method: str, first: Any) -> Iterator[tuple[Forwarder, Any]]:
        return zip(self._forwarders, [first, *(others.find(method) for others in self._others)], strict=True)

    async def _shard(self, method: str, context: Any) -> int:
        return await self._ownerships.find(convert.domain_of(context), make=method in MAKING)


def _everywhere(places: Sequence[_Place]) -> Unary:
    """Here, where any shard is owned, and at every other broker that owns one, unless it was one of those that asked."""

    async def call(request: Any, context: Any) -> Any:
        answers = []
        if not all(place.forwarder.away for place in places):
            answers.append(await places[0].here(request, context))
        if not any(key == FORWARDED_KEY for key, _ in context.invocation_metadata() or ()):
            others = {_owner(place.forwarder): place.elsewhere for place in places if place.forwarder.away}
            answers += [await elsewhere(request, context) for elsewhere in others.values()]
        return answers[0] if answers else await places[0].elsewhere(request, context)

    return call


def _owner(forwarder: Forwarder) -> str:
    """Which broker owns the shard, as far as is known."""
    holder = forwarder.ownership.holder
    return holder.peer.endpoint if holder is not None and holder.peer is not None else ""
