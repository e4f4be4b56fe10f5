"""What a proxy says of a request: the prefix under which it serves us, the scheme and host that the browser sees, and where the request came from.

Only with `--behind-proxy`, since anybody who reaches the listener can write these headers. The proxy must set or remove all four; of X-Forwarded-For the last address
counts, which the proxy itself has added.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)
WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d+)?|([^:]+):\d+", re.ASCII)
"""An address with the port of its connection behind it, as some proxies write it: another one each time. IPv6 has brackets then."""
HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", re.ASCII)


class Proxied:
    """ASGI middleware. A header that makes no sense is passed over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on the request as the browser made it."""
        await self._app(seen_by_the_browser(scope) if scope["type"] == "http" else scope, receive, send)


def seen_by_the_browser(scope: Scope) -> Scope:
    """The scope with prefix, scheme, host and client as the proxy tells them. It may have taken the prefix off the path or not."""
    said: dict[bytes, str] = {name: value.decode("latin-1").strip() for name, value in scope["headers"]}
    found = dict(scope)
    prefix = said.get(b"x-forwarded-prefix", "").rstrip("/")
    if PREFIX.fullmatch(prefix):
        path = scope["path"]
        found["root_path"] = prefix
        found["path"] = path if path == prefix or path.startswith(f"{prefix}/") else prefix + path
    scheme, host = said.get(b"x-forwarded-proto", ""), said.get(b"x-forwarded-host", "")
    if scheme in ("http", "https"):
        found["scheme"] = scheme
    if HOST.fullmatch(host):
        found["headers"] = [*((name, value) for name, value in scope["headers"] if name != b"host"), (b"host", host.encode())]
    client = said.get(b"x-forwarded-for", "").rpartition(",")[2].strip()
    if client:
        found["client"] = (_without_port(client)[:100], 0)
    return found


def _without_port(address: str) -> str:
    found = WITH_PORT.fullmatch(address)
    return address if found is None else found[1] or found[2]
