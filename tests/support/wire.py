"""Calls without the client library: requests as bytes or messages, refusals as the wire has them."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from headrace_broker.rpc.server import SERVICES as NAMES
from headrace_proto.streams import StreamEnd

SERVICES = [descriptor_pool.Default().FindServiceByName(name) for name in NAMES if not name.startswith("grpc.")]
"""All that a broker has of its own: ours, and KEDA's."""


@dataclass(frozen=True)
class Refusal:
    """What a refused call carries: the status, and the same facts from google.rpc.Status and from plain metadata."""

    code: str
    message: str
    reason: str
    field: str
    retry_after_s: float | None


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Reads a refusal, and checks that its two spellings agree."""
    metadata = dict(error.trailing_metadata() or ())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    info, violations, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in status.details:
        for message in (info, violations, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    field = violations.field_violations[0].field if violations.field_violations else ""
    assert (info.domain, info.reason, field) == ("headrace", metadata["headrace-reason"], metadata.get("headrace-field", ""))
    assert (status.code, status.message) == (error.code().value[0], error.details())
    retry_s = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    return Refusal(error.code().name, error.details(), info.reason, field, retry_s)


async def say(call: Any, *messages: Any) -> StreamEnd:
    """Writes to a stream that may be refused before all is said; its end, which alone says why: the call's own status may be one that gRPC's client made up."""
    end = StreamEnd(call)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for message in messages:
            await call.write(message)
    return end


async def heard(call: Any, end: StreamEnd) -> Any:
    """The next message of a stream, or EOF. Raises AioRpcError, as the other side said it."""
    try:
        return await call.read()
    except grpc.aio.AioRpcError as error:
        raise await end.instead_of(error) from None


async def stream_refusal(call: Any, *messages: Any) -> Refusal:
    """How a stream is refused on which this is said; messages may have been given with the call instead."""
    end = await say(call, *messages)
    try:
        while await heard(call, end) is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError("the stream ended well")


class Wire:
    """Calls of one channel by name, such as "Jobs.GetJob"."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(self, method: str, request: Any, *, domain: str = "default", timeout_s: float = 10) -> Any:
        """The response message. `request`: a message or raw bytes."""
        service, _, name = method.partition(".")
        found = next(item for item in SERVICES if item.name == service).methods_by_name[name]
        response = GetMessageClass(found.output_type)
        behaviour = self._channel.unary_unary(
            f"/{found.containing_service.full_name}/{name}",
            request_serializer=lambda item: item if isinstance(item, bytes) else item.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return await behaviour(request, timeout=timeout_s, metadata=(("headrace-domain", domain),))

    async def refused(self, method: str, request: Any, *, domain: str = "default") -> Refusal:
        """What the broker says against a request. Fails when it has nothing against it."""
        try:
            answer = await self.call(method, request, domain=domain)
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)
        raise AssertionError(f"{method} took {request!r} and answered {answer!r}")
