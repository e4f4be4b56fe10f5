"""Around every call: lets it in, measures it, and turns errors into statuses. A streaming handler is an async generator, so its iteration is wrapped, not its call."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from headrace_broker.metrics import Metrics
from headrace_broker.model.errors import BrokerError, InvalidField
from headrace_broker.rpc import convert, scaler
from headrace_broker.rpc.access import LONG, TOKEN, Gate, Hold
from headrace_broker.rpc.choice import Choice
from headrace_broker.rpc.errors import reason_of, status_code, trailing_metadata
from headrace_broker.rpc.forward import ANYWHERE, Forwarder, Relayed
from headrace_broker.rpc.quotas import FREE, Quotas
from headrace_broker.rpc.standby import CONNECT, at_standby

UNREAD = frozenset({"/headrace.v1.Jobs/Submit", "/headrace.v1.Jobs/SubmitMany"})
"""Calls that a broker without room refuses before it has read them."""
OURS = ("/headrace.", scaler.PREFIX)
"""Calls that are guarded; others are those of the health service and of reflection."""

log = structlog.get_logger("headrace.rpc")


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpcio ships no types
    """Metrics, errors, tokens and quotas in one wrapper: a unary call is dear enough without several. `gate` None: nobody needs a token.

    `forwarder`: where calls go while this broker stands by. Quotas are then those of the owner. `choice`: there are several shards, and it knows where calls of each go.
    """

    def __init__(
        self, metrics: Metrics, gate: Gate | None = None, quotas: Quotas | None = None, forwarder: Forwarder | None = None, choice: Choice | None = None
    ) -> None:
        self._forwarder = forwarder
        self._choice = choice
        self._metrics = metrics
        self._gate = gate
        self._quotas = quotas
        self._guarded: dict[str, Any] = {}  # handlers by method: made once, not for each call
        self.full: Callable[[], BrokerError | None] = _room  # why calls of UNREAD would be refused whatever they bring

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        if details.method in UNREAD and (refusal := self.full()) is not None:
            return self._refuse_unread(details.method, refusal)
        guarded = self._guarded.get(details.method)
        if guarded is not None:
            return guarded
        handler = await continuation(details)
        if handler is None or not details.method.startswith(OURS):
            return handler
        guarded = self._guarded[details.method] = self._guard(handler, details)
        return guarded

    def _refuse_unread(self, method: str, refusal: BrokerError) -> Any:
        """A handler for one call that looks at nothing of it: not at its message, nor at its token."""
        code, message, metadata = _translate(refusal, method)
        self._metrics.rpc_seconds.labels(method, code.name).observe(0.0)

        async def refuse(_request: bytes, context: Any) -> None:
            await context.abort(code, message, metadata)

        return grpc.unary_unary_rpc_method_handler(refuse)

    def _guard(self, handler: Any, details: Any) -> Any:
        quotas = self._quotas if not details.method.startswith(FREE) else None
        read = _tolerant(handler.request_deserializer) if quotas is None else _sized(_tolerant(handler.request_deserializer))
        of_keda = details.method.startswith(scaler.PREFIX)
        if handler.response_streaming:
            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
            stream = self._stream(handler, details.method, quotas)
            return make(scaler.told_stream(stream) if of_keda else stream, read, handler.response_serializer)
        unary = self._unary(handler, details.method, quotas)
        return grpc.unary_unary_rpc_method_handler(scaler.told(unary) if of_keda else unary, read, handler.response_serializer)

    def _unary(self, handler: Any, method: str, quotas: Quotas | None) -> Callable[[Any, Any], Awaitable[Any]]:
        observe, gate, forwarder = self._metrics.rpc_seconds, self._gate, self._forwarder if not method.startswith(ANYWHERE) else None
        done = observe.labels(method, "OK").observe
        here = handler.unary_unary if quotas is None else _paid(handler.unary_unary, quotas)
        if self._choice is not None and forwarder is not None:
            here, forwarder = self._choice.unary(method, handler, lambda behaviour: behaviour if quotas is None else _paid(behaviour, quotas), _bytes_of), None
        elsewhere = forwarder.unary(method, here, _bytes_of) if forwarder is not None else here

        async def call(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            behaviour = here if forwarder is None or not forwarder.away else elsewhere
            try:
                if gate is None:
                    answer = await behaviour(_parsed(request), context)
                else:
                    admitted = await gate.admit(method, context)
                    if method not in LONG:
                        answer = await behaviour(_parsed(request), context)
                    else:
                        with Hold(admitted):
                            answer = await behaviour(_parsed(request), context)
            except Exception as error:
                code, message, metadata = _translate(error, method)
                observe.labels(method, code.name).observe(time.perf_counter() - started)
                await context.abort(code, message, (*metadata, *(context.trailing_metadata() or ())))  # a request id that was set stays
            done(time.perf_counter() - started)
            return answer

        return call

    def _stream(self, handler: Any, method: str, quotas: Quotas | None) -> Callable[[Any, Any], AsyncIterator[Any]]:
        gate, forwarder = self._gate, self._forwarder if not method.startswith(ANYWHERE) else None
        here = handler.stream_stream or handler.unary_stream
        if quotas is not None:
            here = _paid_stream(here, quotas)
        if self._choice is not None and forwarder is not None:
            here, forwarder = self._choice.stream(method, handler, lambda behaviour: behaviour if quotas is None else _paid_stream(behaviour, quotas), _bytes_of), None
        elsewhere = forwarder.stream(method, here, _bytes_of, many=handler.request_streaming) if forwarder is not None else here
        if forwarder is not None and method == CONNECT:
            elsewhere = at_standby(forwarder.ownership, here, elsewhere)

        async def call(requests: Any, context: Any) -> AsyncIterator[Any]:
            behaviour = here if forwarder is None or not forwarder.away else elsewhere
            try:
                if gate is None:
                    async for answer in behaviour(_each_parsed(requests) if isinstance(requests, AsyncIterator) else _parsed(requests), context):
                        yield answer
                        del answer  # the next one may be long in coming
                    return
                with Hold(await gate.admit(method, context)) as hold:
                    async for answer in behaviour(_each_parsed(requests, hold) if isinstance(requests, AsyncIterator) else _parsed(requests), context):
                        hold.inside = False
                        yield answer
                        del answer
                        hold.check()
                        hold.inside = True
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except Exception as error:
                code, message, metadata = _translate(error, method)
                await context.abort(code, message, (*metadata, *(context.trailing_metadata() or ())))

        return call


def _room() -> None:
    """There is room."""


class _Sized:
    """A request, and how many bytes it had: where quotas count them."""

    __slots__ = ("request", "size")

    def __init__(self, request: Any, size: int) -> None:
        self.request = request
        self.size = size


def _bytes_of(request: Any) -> bytes:
    """A request as it came, for the broker that it is passed on to."""
    return bytes(_parsed(request.request if isinstance(request, _Sized) else request).SerializeToString())


def _sized(parse: Callable[[bytes], Any]) -> Callable[[bytes], _Sized]:
    return lambda data: _Sized(parse(data), len(data))


def _paid(behaviour: Callable[[Any, Any], Awaitable[Any]], quotas: Quotas) -> Callable[[Any, Any], Awaitable[Any]]:
    async def call(sized: _Sized, context: Any) -> Any:
        quotas.take(TOKEN.get(), convert.domain_of(context), sized.size)
        return await behaviour(_parsed(sized.request), context)

    return call


def _paid_stream(behaviour: Callable[[Any, Any], AsyncIterator[Any]], quotas: Quotas) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def call(requests: Any, context: Any) -> AsyncIterator[Any]:
        who, domain = TOKEN.get(), convert.domain_of(context)

        async def each() -> AsyncIterator[Any]:
            async for sized in requests:
                await quotas.wait(who, domain, sized.size)
                yield _parsed(sized.request)

        if isinstance(requests, _Sized):
            quotas.take(who, domain, requests.size)
            requested = _parsed(requests.request)
        else:
            quotas.take(who, domain, 0)
            requested = each()
        async for answer in behaviour(requested, context):
            yield answer

    return call


class _Malformed:
    """In place of a request that is no message of its kind: gRPC itself would answer INTERNAL and name nothing."""


_MALFORMED = _Malformed()


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def deserialize(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return _MALFORMED

    return deserialize


def _parsed(request: Any) -> Any:
    if request is _MALFORMED:
        raise InvalidField("request", "its bytes are no message of this kind")
    return request


async def _each_parsed(requests: AsyncIterator[Any], hold: Hold | None = None) -> AsyncIterator[Any]:
    async for request in requests:
        if hold is not None:
            hold.check()
        yield _parsed(request)
        del request


def _translate(error: Exception, method: str) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    if isinstance(error, Relayed):
        return error.code, error.message, tuple(error.metadata)
    if isinstance(error, BrokerError):
        return status_code(reason_of(error)), str(error), trailing_metadata(error)
    if isinstance(error, grpc.aio.AbortError):
        raise error
    error_id = uuid.uuid4().hex[:12]
    log.error("call failed", method=method, error_id=error_id, exc_info=error)
    return grpc.StatusCode.INTERNAL, f"internal error {error_id}; the broker's log has more under this id", (("headrace-reason", "INTERNAL"),)
