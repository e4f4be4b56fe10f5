"""Peers that misuse a connection, frame by frame: each loses its own connection, or call, and nobody else's."""

import asyncio
import contextlib
import functools
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from h2.settings import SettingCodes
from headrace_client import AdminClient, Client, JobSpec, State
from headrace_proto.v1 import jobs_pb2, types_pb2
from headrace_proto.v1.jobs_pb2_grpc import JobsStub

from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.scripted_agent import ScriptedAgent
from tests.support.tokens import make_tokens

LIMITS = {
    "metadata-limit-bytes": 4096, "streams-limit": 5, "ping-interval-s": 1, "handshake-timeout-s": 1, "connection-idle-s": 4, "message-limit-bytes": 128 * 1024,
    "payload-limit-bytes": 64 * 1024, "connections-limit": 30,
}  # fmt: skip
COUNT = "/headrace.v1.Jobs/CountJobs"
TYPE = ("content-type", "application/grpc")
STREAM = "/headrace.v1.Jobs/SubmitStream"


class Raw:
    """A connection without a client: its frames are what the test sends. Events that came are in `events`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False))
        self.reader = reader
        self.writer = writer
        self.events: list[Any] = []
        self.go_away: int | None = None  # the error code of the broker's GOAWAY; what comes after it is heard too
        self.closed = False
        self._unread = b""

    @classmethod
    async def open(cls, address: str) -> "Raw":
        """Connected, with the preface sent."""
        host, _, port = address.rpartition(":")
        raw = cls(*await asyncio.open_connection(host, int(port)))
        raw.h2.initiate_connection()
        await raw.flush()
        return raw

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.writer.close()

    async def flush(self) -> None:
        """Sends what is due."""
        self.writer.write(self.h2.data_to_send())
        try:
            await self.writer.drain()
        except OSError:
            self.closed = True

    def call(self, stream: int, *more: tuple[str, str], path: str = COUNT, end: bool = True) -> None:
        """A call with an empty message."""
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"), TYPE, *more]
        self.h2.send_headers(stream, headers)
        self.h2.send_data(stream, b"\0\0\0\0\0", end_stream=end)

    async def until(self, check: Callable[[], object], *, timeout_s: float = 30) -> None:
        """Reads until `check` is true."""
        async with asyncio.timeout(timeout_s):
            while not check():
                assert not self.closed, f"the connection was closed before: {self.events}"
                try:
                    data = await self.reader.read(65536)
                except OSError:
                    data = b""
                self.closed = not data
                self._unread += data
                self._take_frames()
                await self.flush()

    def trailer(self, stream: int, name: str) -> str | None:
        """Of a call that has ended."""
        for event in self.events:
            if isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived) and event.stream_id == stream:
                found = {str(key): value for key, value in event.headers}.get(name)
                if found is not None:
                    return str(found)
        return None

    def ended(self, stream: int) -> bool:
        """Whether a call was answered or reset."""
        return any(isinstance(event, h2.events.StreamEnded | h2.events.StreamReset) and event.stream_id == stream for event in self.events)

    def _take_frames(self) -> None:
        while len(self._unread) >= 9 + (length := int.from_bytes(self._unread[:3], "big")):
            frame, self._unread = self._unread[: 9 + length], self._unread[9 + length :]
            if frame[3] == 7:
                self.go_away = int.from_bytes(frame[13:17], "big")
            else:
                self.events += self.h2.receive_data(frame)


@pytest.fixture
async def broker(database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """With limits that a test reaches soon."""
    process = await start_broker(directory, *(word for name, value in LIMITS.items() for word in (f"--{name}", str(value))), database=database)
    stack.push_async_callback(process.kill)
    return process


@pytest.fixture
async def witness(broker: BrokerProcess) -> AsyncIterator[ScriptedAgent]:
    """An agent that works at the same time, and whose stream must not notice anything."""
    agent = ScriptedAgent(broker.address)
    await agent.connect()
    yield agent
    assert not agent.ended
    await agent.close()


async def _large_headers(address: str) -> None:
    async with await Raw.open(address) as raw:
        for size, status in ((2000, "0"), (8000, "8")):  # RESOURCE_EXHAUSTED
            stream = raw.h2.get_next_available_stream_id()
            raw.call(stream, ("x-large", "y" * size))
            await raw.flush()
            await raw.until(functools.partial(raw.ended, stream))
            assert raw.trailer(stream, "grpc-status") == status, raw.events
        stream = raw.h2.get_next_available_stream_id()
        raw.call(stream)
        await raw.flush()
        await raw.until(lambda: raw.ended(stream))
        assert raw.trailer(stream, "grpc-status") == "0"  # the connection is as good as before


async def _endless_headers(address: str) -> None:
    """CONTINUATION frames without end (as in CVE-2024-27983): a megabyte of headers, and then their end."""
    async with await Raw.open(address) as raw:
        raw.writer.write(_frame(1, 0, 1, raw.h2.encoder.encode([(":method", "POST"), (":scheme", "http"), (":path", COUNT), (":authority", "x"), TYPE])))
        try:
            for number in range(70):
                raw.writer.write(_frame(9, 0, 1, raw.h2.encoder.encode([(f"x-{number}-{part}", "z" * 4000) for part in range(4)])))
                await raw.writer.drain()
            raw.writer.write(_frame(9, 4, 1, b""))
            async with asyncio.timeout(30):
                while True:
                    head = await raw.reader.readexactly(9)
                    await raw.reader.readexactly(int.from_bytes(head[:3], "big"))
                    if head[3] in (1, 3, 7):  # HEADERS, which say why; RST_STREAM; GOAWAY
                        return
        except (OSError, asyncio.IncompleteReadError):
            return


async def _ping_flood(address: str) -> None:
    async with await Raw.open(address) as raw:
        for number in range(10):
            raw.h2.ping(struct.pack(">Q", number))
        await raw.flush()
        await raw.until(lambda: raw.go_away is not None or raw.closed)
        assert raw.go_away == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


async def _many_streams(address: str) -> None:
    async with await Raw.open(address) as raw:
        await raw.until(lambda: raw.h2.remote_settings.max_concurrent_streams != 2**32 + 1)
        assert raw.h2.remote_settings.max_concurrent_streams == LIMITS["streams-limit"]
        raw.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000  # not heeded
        raw.h2.remote_settings.acknowledge()
        streams = list(range(1, 41, 2))
        for stream in streams:
            raw.h2.send_headers(stream, [(":method", "POST"), (":scheme", "http"), (":path", STREAM), (":authority", "x"), ("te", "trailers"), TYPE])
        await raw.flush()
        await raw.until(lambda: raw.closed or raw.go_away is not None or sum(isinstance(event, h2.events.StreamReset) for event in raw.events) >= len(streams) - 5)
        refused = [event.error_code for event in raw.events if isinstance(event, h2.events.StreamReset)]
        assert raw.closed or raw.go_away is not None or set(refused) == {h2.errors.ErrorCodes.REFUSED_STREAM}


async def _rapid_reset(address: str) -> None:
    """Calls that are taken back at once, again and again (CVE-2023-44487)."""
    async with await Raw.open(address) as raw:
        await raw.until(lambda: any(isinstance(event, h2.events.RemoteSettingsChanged) for event in raw.events))
        stream = 1
        while stream < 4000 and not raw.closed:
            raw.call(stream, end=False)
            raw.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            stream += 2
            if stream % 200 == 1:
                await raw.flush()


async def _idle(address: str) -> None:
    async with await Raw.open(address) as raw:
        stream = raw.h2.get_next_available_stream_id()
        raw.call(stream)
        await raw.flush()
        await raw.until(lambda: raw.ended(stream))
        await raw.until(lambda: raw.go_away is not None, timeout_s=60)  # after once to twice the time


async def _large_message(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(COUNT)(bytes(200 * 1024), timeout=10)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def _many_connections(address: str) -> None:
    more = 8
    async with AsyncExitStack() as opened:
        raws = [await opened.enter_async_context(await Raw.open(address)) for _ in range(LIMITS["connections-limit"] + more)]
        served = [await _is_served(raw) for raw in raws]
    assert 0 < sum(served) <= LIMITS["connections-limit"] and served.count(False) >= more

    async def again() -> bool:
        async with await Raw.open(address) as raw:
            return await _is_served(raw)

    await until(again, what="a connection, now that there is room")


async def _is_served(raw: Raw) -> bool:
    """Whether the broker speaks over a connection; else it closes it."""

    def settings() -> bool:
        return any(isinstance(event, h2.events.RemoteSettingsChanged) for event in raw.events)

    await raw.until(lambda: settings() or raw.closed)
    return settings()


async def test_peers_that_misuse_a_connection_lose_it_and_nobody_else_notices(broker: BrokerProcess, witness: ScriptedAgent, client: Client) -> None:
    submitted = await client.submit("t", 1)
    await _idle(broker.address)
    for attack in (_large_headers, _endless_headers, _ping_flood, _many_streams, _rapid_reset, _large_message, _many_connections):
        await attack(broker.address)
    [job] = await witness.take(1)
    assert job.job_id == submitted.job_id
    await witness.proven()
    assert "Traceback" not in broker.log.read_text()


@pytest.mark.parametrize("sent", [b"", b"PRI * HTTP/2.0\r\n"])
async def test_a_handshake_that_does_not_end_costs_the_connection(sent: bytes, database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--handshake-timeout-s", "1", "--connection-idle-s", "600", database=database)
    stack.push_async_callback(broker.kill)
    host, _, port = broker.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    async with asyncio.timeout(30):  # gRPC's own patience is longer
        with contextlib.suppress(OSError):
            while await reader.read(4096):
                pass
    writer.close()


async def test_old_connections_are_closed_with_grace_and_nothing_is_lost_by_it(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--connection-age-s", "1", "--connection-age-grace-s", "0.5", database=database)
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    async with await Raw.open(broker.address) as raw:
        await raw.until(lambda: raw.go_away is not None)
        assert raw.go_away == h2.errors.ErrorCodes.NO_ERROR
    job_id = (await client.submit("t", 1, key="k")).job_id
    agent = ScriptedAgent(broker.address)
    stack.push_async_callback(agent.close)
    await agent.connect()
    await agent.take(1)
    await agent.until(lambda: agent.ended, "the end")
    welcome = await agent.connect()
    assert welcome.resumed and not welcome.not_held and list(agent.held) == [job_id]
    await client.submit("t", 2, key="l")  # over a new connection


async def test_quotas_refuse_what_one_token_or_domain_brings_beyond_them(database: str, directory: Path, stack: AsyncExitStack) -> None:
    tokens, others = await make_tokens(database), await make_tokens(database, "other")
    options = ["--auth", "required", "--quota-token-calls-per-s", "10", "--quota-token-bytes-per-s", "20000", "--quota-domain-calls-per-s", "1000"]
    broker = await start_broker(directory, *options, database=database)
    stack.push_async_callback(broker.kill)
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(broker.address))
    stub: Any = JobsStub(channel)  # type: ignore[no-untyped-call]

    async def refused(token: str, domain: str = "default") -> Any:
        metadata = (("authorization", f"Bearer {token}"), ("headrace-domain", domain))
        call = stub.CountJobs(jobs_pb2.CountJobsRequest(), metadata=metadata, timeout=10)
        return None if await call.code() is grpc.StatusCode.OK else call

    answers = await asyncio.gather(*(refused(tokens["viewer"]) for _ in range(60)))  # one after the other they might come more slowly than the quota allows
    first = next(call for call in answers if call is not None)
    assert sum(call is None for call in answers) >= 20 and await first.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(await first.trailing_metadata())
    assert trailing["headrace-reason"] == "QUOTA_EXCEEDED" and 50 <= int(trailing["headrace-retry-after-ms"]) <= 1000
    assert "token 'viewer@default'" in await first.details() and "calls per second" in await first.details()
    assert await refused(tokens["operator"]) is None and await refused(others["viewer"], "other") is None
    async with AdminClient(broker.address, token=tokens["viewer"], timeout_s=10) as patient:  # waits as long as it is told to
        await patient.list_types()
    async with Client(broker.address, token=tokens["submitter"], timeout_s=60) as client:
        began = time.monotonic()
        results = await client.submit_many([JobSpec("t", "x" * 2000) for _ in range(50)])  # 100 kB: a stream is slowed down, and nothing refused
        assert all(not isinstance(result, Exception) for result in results)
        again = await client.submit("t", "y")
        assert again.job_id and time.monotonic() - began > 1.5, "it is slowed down at least so much"
    async with Client(broker.address, token=tokens["operator"], timeout_s=10) as client:
        assert (await client.count()).totals == {State.WAITING: 51}


async def test_quotas_of_a_domain_count_all_its_tokens_and_nobody_elses(database: str, directory: Path, stack: AsyncExitStack) -> None:
    tokens, others = await make_tokens(database), await make_tokens(database, "other")
    broker = await start_broker(directory, "--auth", "required", "--quota-domain-calls-per-s", "2", "--quota-domain-bytes-per-s", "20000", database=database)
    stack.push_async_callback(broker.kill)
    stub: Any = JobsStub(await stack.enter_async_context(grpc.aio.insecure_channel(broker.address)))  # type: ignore[no-untyped-call]

    async def said(method: Any, request: Any, token: str, domain: str = "default") -> tuple[grpc.StatusCode, str]:
        call = method(request, metadata=(("authorization", f"Bearer {token}"), ("headrace-domain", domain)), timeout=10)
        return await call.code(), await call.details()

    counting = await asyncio.gather(*(said(stub.CountJobs, jobs_pb2.CountJobsRequest(), tokens[role]) for role in ("viewer", "operator") * 10))
    refused = [words for code, words in counting if code is grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused and all("domain 'default'" in words and "calls per second" in words for words in refused)
    assert {code for code, _ in counting} == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    spec = types_pb2.JobSpec(type="t", payload=b'"' + b"x" * 500_000 + b'"')
    assert (await said(stub.Submit, jobs_pb2.SubmitRequest(job=spec), others["submitter"], "other"))[0] is grpc.StatusCode.OK  # larger than what is saved up: once
    code, words = await said(stub.CountJobs, jobs_pb2.CountJobsRequest(), others["viewer"], "other")
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "domain 'other'" in words and "bytes per second" in words


def _frame(type_: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, section 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes([type_, flags]) + struct.pack(">I", stream) + payload


def test_the_limits_are_those_that_grpc_knows() -> None:
    """Each option of the broker stands for an argument of gRPC's channels."""
    from headrace_broker.rpc.connections import ConnectionLimits, server_options

    options = dict(server_options(ConnectionLimits(connection_age_s=60)))
    assert options["grpc.max_metadata_size"] == options["grpc.absolute_max_metadata_size"] == 16 * 1024
    assert (options["grpc.max_connection_age_ms"], options["grpc.max_connection_idle_ms"], options["grpc.server_handshake_timeout_ms"]) == (60_000, 600_000, 10_000)
    assert "grpc.max_connection_age_ms" not in dict(server_options(ConnectionLimits()))


async def test_a_call_brings_no_ping_and_a_megabyte_may_be_under_way(broker: BrokerProcess) -> None:
    async with await Raw.open(broker.address) as raw:
        raw.call(1)
        await raw.flush()
        await raw.until(lambda: raw.ended(1))
        assert raw.trailer(1, "grpc-status") == "0"
        raw.h2.ping(b"are here")  # what the broker sent of itself comes before the answer
        await raw.flush()
        await raw.until(lambda: any(isinstance(event, h2.events.PingAckReceived) for event in raw.events))
        assert not any(isinstance(event, h2.events.PingReceived) for event in raw.events)
        assert raw.h2.remote_settings.initial_window_size == raw.h2.outbound_flow_control_window == 1024 * 1024
