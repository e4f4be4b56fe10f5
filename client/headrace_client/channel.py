"""Channels to a list of brokers: TLS, keepalive, metadata, and which broker to use. gRPC's stubs are typed here, once."""

import asyncio
import getpass
import os
import random
import socket
from collections.abc import Sequence
from typing import Any

import grpc
from headrace_proto.v1 import (
    access_pb2_grpc,
    admin_pb2_grpc,
    agents_pb2_grpc,
    alerts_pb2_grpc,
    brokers_pb2_grpc,
    certificates_pb2_grpc,
    doors_pb2_grpc,
    filters_pb2_grpc,
    grants_pb2_grpc,
    graph_pb2_grpc,
    instances_pb2_grpc,
    jobs_pb2_grpc,
    lifecycle_pb2_grpc,
    limits_pb2_grpc,
    logs_pb2_grpc,
    operations_pb2_grpc,
    schedules_pb2_grpc,
    stats_pb2_grpc,
    testing_pb2_grpc,
    users_pb2_grpc,
)
from headrace_proto.wire import ACTOR_KEY, DEFAULT_DOMAIN, DEFAULT_PORT, DOMAIN_KEY, ON_BEHALF_OF_KEY

from headrace_client.credentials import Metadata, Token, token_of
from headrace_client.errors import ClientClosed, ForkError, InvalidRequest
from headrace_client.tls import Tls

OPTIONS = [
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 3_000),  # despite its name, how long one try to connect may take: three round trips with TLS
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),  # it measures the network by a ping after what was read, which costs the broker as much as the message did
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),  # what may be under way to the client instead: as much as one Assign
]
BACKOFF_S = (0.05, 2.0)
LOOK_S = 1.0
"""How often the files of certificates are looked at, at most."""


def backoff_s(failures: int) -> float:
    """Seconds to wait after that many failures in a row: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS, 2015)."""
    first, longest = BACKOFF_S
    return random.uniform(first / 2, min(longest, first * 2 ** min(failures, 10)))


def addresses(broker: str | Sequence[str] | None) -> list[str]:
    """Broker addresses from an argument or HEADRACE_BROKER; a missing port is the default one."""
    if not broker:
        broker = os.environ.get("HEADRACE_BROKER") or f"127.0.0.1:{DEFAULT_PORT}"
    parts = broker.split(",") if isinstance(broker, str) else list(broker)
    found = [part.strip() for part in parts if part.strip()]
    if not found:
        raise InvalidRequest("no broker is named; give HOST:PORT, or several with commas between them")
    for part in found:
        if "://" in part:
            raise InvalidRequest(f"{part!r} is not the address of a broker: give HOST:PORT of its gRPC listener, without {part.partition('://')[0]}://")
    return [part if part.startswith("unix:") or ":" in part else f"{part}:{DEFAULT_PORT}" for part in found]


def metadata(domain: str | None, token: Token | None, actor: str | None, on_behalf_of: str | None = None) -> Metadata:
    """What every call carries."""
    domain = domain or os.environ.get("HEADRACE_DOMAIN") or DEFAULT_DOMAIN
    on_behalf_of = on_behalf_of or os.environ.get("HEADRACE_ON_BEHALF_OF") or ""
    if not domain.isascii() or not domain.isprintable():
        raise InvalidRequest(f"a domain is of ASCII letters, digits and . _ -, found {domain!r}", details={"field": "domain"})
    pairs = ((DOMAIN_KEY, domain), (ACTOR_KEY, _header(_actor() if actor is None else actor)), (ON_BEHALF_OF_KEY, _header(on_behalf_of)))
    return Metadata(tuple((key, value) for key, value in pairs if value), token_of(token))


def open_channel(address: str, tls: Tls) -> grpc.aio.Channel:
    """A channel of its own connection, with the files as they are now."""
    if not tls.encrypted:
        return grpc.aio.insecure_channel(address, options=OPTIONS)
    return grpc.aio.secure_channel(address, tls.credentials(), options=OPTIONS)


class Stubs:
    """The services behind one channel. The generated stubs have no types; their calls are named in the protos."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.jobs: Any = jobs_pb2_grpc.JobsStub(channel)  # type: ignore[no-untyped-call]
        self.admin: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
        self.lifecycle: Any = lifecycle_pb2_grpc.LifecycleStub(channel)  # type: ignore[no-untyped-call]
        self.doors: Any = doors_pb2_grpc.DoorsStub(channel)  # type: ignore[no-untyped-call]
        self.agents: Any = agents_pb2_grpc.AgentsStub(channel)  # type: ignore[no-untyped-call]
        self.graph: Any = graph_pb2_grpc.GraphStub(channel)  # type: ignore[no-untyped-call]
        self.instances: Any = instances_pb2_grpc.InstancesStub(channel)  # type: ignore[no-untyped-call]
        self.limits: Any = limits_pb2_grpc.LimitsStub(channel)  # type: ignore[no-untyped-call]
        self.access: Any = access_pb2_grpc.AccessStub(channel)  # type: ignore[no-untyped-call]
        self.brokers: Any = brokers_pb2_grpc.BrokersStub(channel)  # type: ignore[no-untyped-call]
        self.certificates: Any = certificates_pb2_grpc.CertificatesStub(channel)  # type: ignore[no-untyped-call]
        self.logs: Any = logs_pb2_grpc.LogsStub(channel)  # type: ignore[no-untyped-call]
        self.operations: Any = operations_pb2_grpc.OperationsStub(channel)  # type: ignore[no-untyped-call]
        self.schedules: Any = schedules_pb2_grpc.SchedulesStub(channel)  # type: ignore[no-untyped-call]
        self.filters: Any = filters_pb2_grpc.FiltersStub(channel)  # type: ignore[no-untyped-call]
        self.alerts: Any = alerts_pb2_grpc.AlertsStub(channel)  # type: ignore[no-untyped-call]
        self.stats: Any = stats_pb2_grpc.StatsStub(channel)  # type: ignore[no-untyped-call]
        self.grants: Any = grants_pb2_grpc.GrantsStub(channel)  # type: ignore[no-untyped-call]
        self.users: Any = users_pb2_grpc.UsersStub(channel)  # type: ignore[no-untyped-call]
        self.testing: Any = testing_pb2_grpc.TestingStub(channel)  # type: ignore[no-untyped-call]


class Brokers:
    """The brokers of one client, and which one served last. Bound to the event loop and the process that made it."""

    def __init__(self, broker: str | Sequence[str] | None, *, tls: Tls) -> None:
        self.addresses = addresses(broker)
        self.tls = tls
        self._stamp = tls.stamp()
        self._looked_at = 0.0
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._stubs: dict[int, Stubs] = {}
        self._channels: list[grpc.aio.Channel] = []
        self._current = 0

    def current(self) -> Stubs:
        """The broker to try now.

        Raises:
            ForkError: this process was forked after the client was made.
            ClientClosed: it was closed, or is used in another event loop than at first.
        """
        if os.getpid() != self._pid:
            raise ForkError("this client was made before the process was forked; gRPC does not survive a fork: make a new client in the child")
        if self._closed:
            raise ClientClosed("this client is closed: make a new one")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise ClientClosed("this client was first used in another event loop, and gRPC binds it to that one: make one for each loop, or use SyncClient")
            self._loop = loop
        if self.tls.encrypted and loop.time() - self._looked_at > LOOK_S:
            self._look(loop.time())
        stubs = self._stubs.get(self._current)
        if stubs is None:
            channel = open_channel(self.addresses[self._current], self.tls)
            self._channels.append(channel)
            stubs = self._stubs[self._current] = Stubs(channel)
        return stubs

    def _look(self, now: float) -> None:
        """New certificates are for new channels; calls that are under way go on over the old ones."""
        self._looked_at, stamp = now, self.tls.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._stubs.clear()

    def failed(self, stubs: Stubs) -> None:
        """That broker could not serve: the next one is tried."""
        if self._stubs.get(self._current) is stubs:
            self._current = (self._current + 1) % len(self.addresses)

    def rounds(self, failures: int) -> int:
        """How often all of them have failed, for the next pause: while one broker is restarted, another one is asked at once, and its successor soon."""
        return failures // len(self.addresses)

    @property
    def loop_is_over(self) -> bool:
        """Whether the event loop in which they were used is closed: with it their connections have ended."""
        return self._loop is not None and self._loop.is_closed()

    async def close(self) -> None:
        """Closes all connections for good."""
        self._closed = True
        if os.getpid() != self._pid:
            return  # they are the parent's
        if not self.loop_is_over:
            for channel in self._channels:
                await channel.close()
        self._channels.clear()
        self._stubs.clear()


def _header(text: str) -> str:
    """Header values are printable ASCII (RFC 9110, section 5.5); a user name may be anything."""
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in text)


def _actor() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
