"""A bare agent stream, for benchmarks that must see single messages: no handlers, no threads, no queue. Times are those of the monotonic clock."""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import grpc
from headrace_proto.v1 import agents_pb2

CONNECT = "/headrace.v1.Agents/Connect"
RETRY_S = 0.01


def free_port() -> int:
    """A port of loopback that nobody listens on, for a broker that will be started again on it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def channel(address: str) -> Any:
    """A connection of its own, which comes back within 100 ms of its server. grpc ships no types."""
    options = [
        ("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100),
        ("grpc.max_receive_message_length", 64 << 20),
    ]  # fmt: skip
    return grpc.aio.insecure_channel(address, options=options)


class Stream:
    """One agent on one stream: `open` (or `connect`, which tries until a broker takes it), then `read` and `send`; `close` breaks it off."""

    def __init__(self, address: str, types: Sequence[str], slots: int = 1, name: str = "stream") -> None:
        self._address = address
        self._hello = agents_pb2.Hello(
            agent_name=name, incarnation_id=os.urandom(16).hex(), slots=slots, types=[agents_pb2.ServedType(type=type_) for type_ in types],
            at_standby=agents_pb2.AT_STANDBY_WAIT,
        )  # fmt: skip
        self._slots = slots
        self._channel: Any = None
        self._call: Any = None
        self._number = 0
        self.welcome = agents_pb2.Welcome()

    async def open(self) -> None:
        """Says hello and waits for the welcome, at a broker that stands by until it owns the queue. Raises grpc.aio.AioRpcError or EOFError."""
        self._channel = self._channel or channel(self._address)
        method = self._channel.stream_stream(
            CONNECT, request_serializer=agents_pb2.ConnectRequest.SerializeToString, response_deserializer=agents_pb2.ConnectResponse.FromString
        )
        self._call, self._number = method(), 0
        await self.send(hello=self._hello, credit=agents_pb2.Credit(free=self._slots))
        first = await self.read()
        while first.HasField("stand_by"):
            if first.stand_by.over:
                await self.send(hello=self._hello, credit=agents_pb2.Credit(free=self._slots))
            first = await self.read()
        self.welcome = first.welcome

    async def connect(self) -> float:
        """As `open`, until it succeeds; returns when it did."""
        while True:
            try:
                await self.open()
            except (grpc.aio.AioRpcError, EOFError):
                await asyncio.sleep(RETRY_S)
            else:
                return time.monotonic()

    async def read(self) -> agents_pb2.ConnectResponse:
        """The next message. Raises EOFError when the broker ended the stream."""
        message = await self._call.read()
        if message is grpc.aio.EOF:
            raise EOFError
        return message  # type: ignore[no-any-return]  # grpc ships no types

    async def send(self, **parts: Any) -> None:
        """A message with these parts, under the next number."""
        self._number += 1
        await self._call.write(agents_pb2.ConnectRequest(number=self._number, **parts))

    async def settle(self, assign: agents_pb2.Assign) -> None:
        """Accepts and completes what was assigned, and offers all slots again."""
        outcomes = [agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_COMPLETED) for job in assign.jobs]
        credit = agents_pb2.Credit(assign_no=assign.number, free=self._slots)
        await self.send(accept=agents_pb2.Accept(assign_no=assign.number), outcomes=outcomes, credit=credit)

    async def close(self) -> None:
        """Ends the stream and its connection, which gRPC keeps open as long as anybody holds the closed channel or a call of it."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        connection, self._channel = self._channel, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        await self.close()


async def first_grant(address: str, types: Sequence[str]) -> float:
    """When the first job of these types was granted by the broker that is, or will be, at this address; the job is settled."""
    async with Stream(address, types) as stream:
        while True:
            await stream.connect()
            try:
                while not (message := await stream.read()).HasField("assign"):
                    pass
                at = time.monotonic()
                await stream.settle(message.assign)
                while not (await stream.read()).outcome_acks:
                    pass
            except (grpc.aio.AioRpcError, EOFError):
                continue
            return at
