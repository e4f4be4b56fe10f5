"""The connection of a broker that stands by to the owner.

Where the owner's listener is encrypted, the certificate that it wrote down in the database is the one that is trusted, and this broker shows its own as a client would.
"""

import asyncio
from collections.abc import Callable

import grpc

from headrace_broker.rpc.connections import SEND_LIMIT
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.ledger import Holder

Keys = tuple[bytes, bytes, bytes | None]
"""(private key, certificate chain, CAs of clients' certificates or None), all PEM."""
CONNECT_S = 1.0
OPTIONS = [
    ("grpc.max_receive_message_length", SEND_LIMIT),
    ("grpc.max_send_message_length", -1),  # the owner's limit counts
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # despite its name, how long one try to connect may take
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
]


class Route:
    """A channel to one owner. `left`: another one owns the queue now, and calls that are under way end without an answer."""

    def __init__(self, holder: Holder, channel: grpc.aio.Channel, key: bytes) -> None:
        self.holder = holder
        self.channel = channel
        self.key = key
        self.left = False

    async def reached(self, timeout_s: float) -> bool:
        """Whether there is a connection, or comes to be one within the time."""
        try:
            async with asyncio.timeout(min(timeout_s, CONNECT_S)):
                await self.channel.channel_ready()
        except (TimeoutError, grpc.aio.UsageError):  # or the channel was closed meanwhile
            return False
        return True


class Routes:
    """The route to the present owner. `keys`: what this broker's own listeners show; None: nothing is encrypted."""

    def __init__(self, ownership: Ownership, keys: Callable[[], Keys] | None) -> None:
        self._ownership = ownership
        self._keys = keys
        self._route: Route | None = None
        self._opened: list[Route] = []
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why there is no route."""
        return self._problem or "it does not say how it is reached"

    def now(self) -> Route | None:
        """The way to the present owner; None: there is no owner, or no way to it that is known."""
        holder, self._problem = self._ownership.holder, ""
        if holder is None or holder.peer is None:
            return None
        route = self._route
        if route is not None and not route.left and (route.holder.life_id, route.holder.peer) == (holder.life_id, holder.peer):
            return route
        channel = self._open(holder)
        if channel is None:
            return None
        self._route = Route(holder, channel, holder.peer.key)
        self._opened.append(self._route)
        return self._route

    async def run(self) -> None:
        """Ends the calls to owners that are none any more, until cancelled; then all."""
        try:
            while True:
                changed, holder = self._ownership.changed, self._ownership.holder
                await self._leave([route for route in self._opened if holder is None or holder.life_id != route.holder.life_id])
                await changed.wait()
        finally:
            await self._leave(list(self._opened))

    async def _leave(self, routes: list[Route]) -> None:
        for route in routes:
            route.left = True
            self._opened.remove(route)
        for route in routes:
            await route.channel.close()

    def _open(self, holder: Holder) -> grpc.aio.Channel | None:
        peer, own = holder.peer, self._ownership.peer
        assert peer is not None
        if not peer.endpoint:
            return None
        if own is not None and own.host != peer.host and _local(peer.endpoint):
            self._problem = f"it serves {peer.endpoint}, which is reached on its own machine {peer.host} only: give it --advertise HOST:PORT"
            return None
        if not peer.certificate:
            return grpc.aio.insecure_channel(peer.endpoint, options=OPTIONS)
        try:
            name = _name(peer.certificate)
        except ValueError as error:
            self._problem = f"it shows a certificate {error}: give it one for the host of {peer.endpoint}"
            return None
        key, chain, _ = self._keys() if self._keys is not None else (None, None, None)
        credentials = grpc.ssl_channel_credentials(peer.certificate.encode(), key, chain)
        return grpc.aio.secure_channel(peer.endpoint, credentials, options=[*OPTIONS, ("grpc.ssl_target_name_override", name)])


def _local(endpoint: str) -> bool:
    return endpoint.startswith(("unix:", "127.", "[::1]", "localhost:"))


def _name(pem: str) -> str:
    """A name that the certificate is for: it is this very certificate that is trusted, whatever the address is that leads to it. Raises ValueError, which ends a sentence
    that begins with the certificate: there is none."""
    from cryptography import x509  # only brokers with TLS need it

    try:
        names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = None
    except ValueError as error:
        raise ValueError("that cannot be read") from error
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))] if names is not None else []
    if not hosts:
        raise ValueError("that names no host (a DNS name or an address among the subject's alternative names)")
    return str(hosts[0]).replace("*", "any", 1)
