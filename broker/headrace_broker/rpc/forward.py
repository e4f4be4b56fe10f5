"""Any broker serves any call: one that stands by passes it on to the owner, once, and the answer back.

What came with the call goes along: its metadata, its token among it, whom its certificate names (`attest`), its time and its end. What the owner answers comes back as it
is: status, details, retry delay, request id. Nothing is sent twice: a call that has left here and was not answered has an unknown result. Calls are held for a moment
while there is no owner, or while it cannot be reached and gets nothing: after that they are refused with NOT_OWNER, which says that nothing was stored.

A call that was passed on already is not passed on again: the broker that takes itself for no owner, and is taken for one, refuses it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from headrace_proto.streams import StreamEnd
from headrace_proto.wire import REASON_KEY, Reason

from headrace_broker.metrics import Metrics
from headrace_broker.model.errors import BrokerError, Draining, NotOwner, ResultUnknown
from headrace_broker.rpc.access import IDENTITY
from headrace_broker.rpc.attest import ATTESTED_KEY, FORWARDED_KEY, Pairs, attest
from headrace_broker.rpc.routes import Route, Routes
from headrace_broker.shards.ownership import Ownership

ANYWHERE = ("/headrace.v1.Access/", "/headrace.v1.Brokers/", "/headrace.v1.Certificates/", "/headrace.v1.Grants/", "/headrace.v1.Users/")
"""Services that need the database alone: every broker answers them itself."""
PATIENCE_S = 3.0
"""How long a call is held while nobody can take it: a takeover is over by then."""
AGAIN_S = 0.3
HELD = 5000
"""Calls that are held at the same time; more are refused at once."""
MARGIN_S = 0.1
NOT_TAKEN = (Reason.NOT_OWNER, Reason.DRAINING)

Unary = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncIterator[Any]]


class Relayed(Exception):
    """The owner refused the call: its status is the answer."""

    def __init__(self, code: grpc.StatusCode, message: str, metadata: Pairs) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.metadata = metadata


class _NotTaken(Exception):
    """The owner got nothing of the call, or stored nothing of it: it may be made again."""


class Forwarder:
    """See the module. `named`: what the owner's log calls this broker."""

    def __init__(self, ownership: Ownership, routes: Routes, metrics: Metrics, named: str) -> None:
        self.ownership = ownership
        self._routes = routes
        self._metrics = metrics
        self._named = named
        self._held = 0

    @property
    def away(self) -> bool:
        """Whether another broker is to be asked. Looked at for each call: one comparison."""
        return self.ownership.role == "standby"

    def unless_handed_over(self, here: Unary, elsewhere: Unary) -> Unary:
        """A call that this broker serves as the owner; one that comes too late since it hands over to another broker goes `elsewhere`. For one of several shards."""

        async def call(request: Any, context: Any) -> Any:
            try:
                return await here(request, context)
            except (Draining, NotOwner):  # nothing of it was stored
                if not self.away:
                    raise
            return await elsewhere(request, context)

        return call

    def unary(self, method: str, here: Unary, bytes_of: Callable[[Any], bytes]) -> Unary:
        """A call with one answer: at the owner, or `here` once this broker is it. `bytes_of` gives a request as it came, and raises BrokerError where it is none."""
        decode = _answers(method)

        async def call(request: Any, context: Any) -> Any:
            until = self._until(context)
            data = bytes_of(request)
            while True:
                route = await self._route(until)
                if route is None:
                    return await here(request, context)
                try:
                    return await self._ask(route, method, decode, data, context)
                except _NotTaken as error:
                    await self._wait(route, until, str(error))

        return call

    def stream(self, method: str, here: Stream, bytes_of: Callable[[Any], bytes], *, many: bool) -> Stream:
        """A call with many answers, and with `many` requests. It is passed on once there is a connection to the owner, and never begun anew."""
        decode = _answers(method)

        async def call(requests: Any, context: Any) -> AsyncIterator[Any]:
            route = None
            data = bytes_of(requests) if not many else b""
            try:
                until = self._until(context)
                while True:
                    route = await self._route(until)
                    if route is None or await route.reached(max(0.0, until - asyncio.get_running_loop().time())):
                        break
                    await self._wait(route, until, "there is no connection to it")
            except NotOwner:
                if not many:
                    raise
                route = None  # what is here says so of each message that comes
            if route is None:
                async for answer in here(requests, context):
                    yield answer
                return
            metadata, timeout = self._metadata(route, method, context), _time_left(context)
            if many:
                begun = route.channel.stream_stream(method, response_deserializer=decode)(timeout=timeout, metadata=metadata)
            else:
                begun = route.channel.unary_stream(method, response_deserializer=decode)(data, timeout=timeout, metadata=metadata)
            self._metrics.forwarded.labels(method).inc()
            async for answer in _relay(route, begun, (bytes_of(request) async for request in requests) if many else None, context):
                yield answer

        return call

    # One call ----------------------------------------------------------------------------------------------------------------------------------

    def _until(self, context: Any) -> float:
        _refuse_second_hop(context)
        left = context.time_remaining()
        return asyncio.get_running_loop().time() + (PATIENCE_S if left is None else min(PATIENCE_S, left - MARGIN_S))

    async def _route(self, until: float) -> Route | None:
        """The way to the owner, as soon as there is one; None: this broker has to answer. Raises NotOwner when there is none in time."""
        while self.away:
            route = self._routes.now()
            if route is not None:
                return route
            if self.ownership.holder is not None:
                raise NotOwner(f"this broker stands by, and cannot ask the one that owns the queue ({self.ownership.holder.address}): {self._routes.problem}")
            await self._wait(None, until, "no broker owns the queue at the moment")
        return None

    async def _wait(self, route: Route | None, until: float, why: str) -> None:
        """Until somebody else owns the queue, or it is time to look again. Raises NotOwner when that takes too long."""
        error = NotOwner(f"this broker stands by, and the one that owns the queue{f' ({route.holder.address})' if route else ''} did not take the call: {why}; try again")
        if self._held >= HELD:
            raise NotOwner(f"this broker stands by, and {HELD} calls wait already until there is an owner that takes them; nothing was stored, try again")
        self._held += 1
        try:
            async with asyncio.timeout_at(min(until, asyncio.get_running_loop().time() + AGAIN_S)):
                await self.ownership.changed.wait()
        except TimeoutError:
            if asyncio.get_running_loop().time() >= until:
                raise error from None
        finally:
            self._held -= 1

    async def _ask(self, route: Route, method: str, decode: Any, data: bytes, context: Any) -> Any:
        call = route.channel.unary_unary(method, response_deserializer=decode)(data, timeout=_time_left(context), metadata=self._metadata(route, method, context))
        self._metrics.forwarded.labels(method).inc()
        try:
            answer = await call
            trailing = await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            raise _judged(error) from error
        except (asyncio.CancelledError, grpc.aio.UsageError) as error:
            _unless_left(route, error)
            raise
        finally:
            call.cancel()
        context.set_trailing_metadata(_passed_back(trailing))
        return answer

    def _metadata(self, route: Route, method: str, context: Any) -> Pairs:
        came = [(key, value) for key, value in context.invocation_metadata() or () if _travels(key)]
        identity = IDENTITY.get()
        sealed = attest(route.key, method, came, identity.name if identity is not None else "")
        return [*came, (FORWARDED_KEY, self._named), (ATTESTED_KEY, sealed)]


def _refuse_second_hop(context: Any) -> None:
    for key, value in context.invocation_metadata() or ():
        if key == FORWARDED_KEY:
            raise NotOwner(f"this broker stands by, and the call was passed on to it by {value} already; nothing was stored, try again")


async def _relay(route: Route, call: Any, requests: AsyncIterator[bytes] | None, context: Any) -> AsyncIterator[Any]:
    """The owner's answers, as they come; `requests` go to it meanwhile."""
    problem: list[BrokerError] = []
    end = StreamEnd(call)
    writer = asyncio.ensure_future(_pump(requests, call, problem)) if requests is not None else None
    try:
        async for answer in call:  # to the last one: `read` would raise once a write has failed
            yield answer
        if (ended := await end.error()) is not None:
            raise ended
        context.set_trailing_metadata(_passed_back(await call.trailing_metadata()))
    except grpc.aio.AioRpcError as raised:
        error = await end.instead_of(raised)
        judged = _judged(error)
        if isinstance(judged, _NotTaken):
            judged = NotOwner(f"the broker that owned the queue does not any more: {judged}; try again")
        raise judged from error
    except (asyncio.CancelledError, grpc.aio.UsageError) as error:
        if problem:
            raise problem[0] from None
        _unless_left(route, error)
        raise
    finally:
        if writer is not None:
            writer.cancel()
        call.cancel()


async def _pump(requests: AsyncIterator[bytes], call: Any, problem: list[BrokerError]) -> None:
    """Writes what comes, one after another: whoever sends more than the owner takes waits. What is no message ends the call."""
    try:
        async for request in requests:
            await call.write(request)
        await call.done_writing()
    except BrokerError as error:
        problem.append(error)
        call.cancel()
    except (asyncio.InvalidStateError, grpc.aio.UsageError, grpc.aio.AioRpcError):
        pass  # the call has ended, and who reads it knows why


def _answers(method: str) -> Callable[[bytes], Any]:
    """How the answers of a call are read."""
    output = descriptor_pool.Default().FindMethodByName(method[1:].replace("/", ".")).output_type
    return message_factory.GetMessageClass(output).FromString


def _time_left(context: Any) -> float | None:
    left = context.time_remaining()
    return None if left is None else max(0.001, left)


def _travels(key: str) -> bool:
    """Whether metadata of the caller is for the owner: neither what HTTP/2 and gRPC make of their own, nor what brokers alone may say."""
    return key not in (FORWARDED_KEY, ATTESTED_KEY, "user-agent", "te", "content-type") and not key.startswith((":", "grpc-"))


def _passed_back(metadata: Any) -> Pairs:
    return [(key, value) for key, value in metadata or () if not key.startswith("grpc-") or key == "grpc-status-details-bin"]


def _judged(error: grpc.aio.AioRpcError) -> Exception:
    """What a failed call is to its caller. Without a reason of the owner it is gRPC that speaks, and mostly of a broken connection."""
    trailing, code, details = error.trailing_metadata() or (), error.code(), error.details() or ""
    reason = next((value for key, value in trailing if key == REASON_KEY), "")
    if reason in NOT_TAKEN:
        return _NotTaken(details)
    if reason or code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        return Relayed(code, details, _passed_back(trailing))
    if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in details.lower():
        return _NotTaken("there is no connection to it")
    return ResultUnknown(f"the connection to the broker that owns the queue broke before it answered ({details}); it may have been done: ask again, with the same key")


def _unless_left(route: Route, error: BaseException) -> None:
    """Raises ResultUnknown where the call was ended because another broker owns the queue now, and not by its caller."""
    task = asyncio.current_task()
    if route.left and not (task is not None and task.cancelling()):
        raise ResultUnknown("another broker owns the queue since, and the one before has not answered; it may have been done: ask again, with the same key") from error
