"""What a client's connection says of itself, frame by frame."""

from collections.abc import Iterator
from contextlib import AsyncExitStack

from headrace_client import Client

from tests.support.processes import BrokerProcess
from tests.support.proxy import Proxy

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, INITIAL_WINDOW = 4, 6, 4  # RFC 9113, sections 6 and 6.5.2


def frames(sent: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """(type, whether it acknowledges, payload) of each frame after the preface."""
    rest = sent.removeprefix(PREFACE)
    while len(rest) >= 9:
        end = 9 + int.from_bytes(rest[:3], "big")
        yield rest[3], bool(rest[4] & 1), rest[9:end]
        rest = rest[end:]


def settings(payload: bytes) -> dict[int, int]:
    """The values of a SETTINGS frame."""
    return {int.from_bytes(payload[at : at + 2], "big"): int.from_bytes(payload[at + 2 : at + 6], "big") for at in range(0, len(payload), 6)}


async def test_a_client_sends_no_ping_for_what_it_reads_and_takes_four_megabytes_ahead(broker: BrokerProcess, stack: AsyncExitStack) -> None:
    proxy = await stack.enter_async_context(Proxy(broker.address))
    seen = proxy.to_server.seen = bytearray()
    async with Client(proxy.address) as client:
        for number in range(3):  # a ping for one answer goes before the next call
            await client.submit("t", number)
        sent = list(frames(bytes(seen)))
    assert not [type_ for type_, acknowledges, _ in sent if type_ == PING and not acknowledges]
    first = next(payload for type_, acknowledges, payload in sent if type_ == SETTINGS and not acknowledges)
    assert settings(first)[INITIAL_WINDOW] == 4 * 1024 * 1024
