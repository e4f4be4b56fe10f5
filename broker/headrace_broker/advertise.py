"""Where other brokers, and browsers that they send on, find this one, unless its options say it."""

import socket
from collections.abc import Sequence

ALL = ("0.0.0.0", "[::]", "::")  # noqa: S104  # what is looked for, not listened on


def advertised(bound: Sequence[str]) -> str:
    """The first listener that other machines can reach, or else the first one: HOST:PORT, or unix:PATH."""
    found = [address if address.startswith("unix:") else _named(address) for address in bound]
    return next((address for address in found if not address.startswith(("unix:", "127.", "[::1]", "localhost:"))), found[0] if found else "")


def web_url(url: str) -> str:
    """The URL of the pages, of that on which they are served."""
    scheme, _, address = url.partition("://")
    return f"{scheme}://{_named(address)}"


def _named(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{socket.gethostname()}:{port}" if host in ALL else address
