"""Receivers of alerts: an SMTP server and a webhook, in the test's own event loop on loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult


@dataclass
class Mailbox:
    """What arrived at an SMTP server. `refusing`: so many of the next messages are refused. `came` is set with each."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refusing: int = 0
    refused: int = 0
    logins: list[tuple[str, str]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        """A message."""
        if self.refusing:
            self.refusing -= 1
            self.refused += 1
            return "451 try again later"
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        self.came.set()
        return "250 taken"

    async def handle_RCPT(self, _server: object, _session: object, envelope: Any, address: str, _options: object) -> str:  # noqa: N802
        """Recipients called nobody are not known."""
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 known"

    @property
    def failures(self) -> int:
        """The sum of what all mails tell."""
        return sum(int(mail["X-Headrace-Count"]) for mail in self.mails)

    async def until(self, count: int, timeout_s: float = 30.0) -> None:
        """So many mails, at least."""
        async with asyncio.timeout(timeout_s):
            while len(self.mails) < count:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def serving(*, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None) -> AsyncIterator[Mailbox]:
    """A server; with `tls` it asks for STARTTLS, with `login` for this user and password."""
    box = Mailbox()

    def authenticate(_server: object, _session: object, _envelope: object, _mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        box.logins.append(given)
        return AuthResult(success=given == login, handled=False)  # the server says 535 by itself

    options: dict[str, Any] = {"tls_context": tls, "require_starttls": True} if tls is not None else {}
    if login is not None:
        options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": tls is not None}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop, hostname="localhost", **options), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()


@dataclass
class Hook:
    """What was posted: (headers in small letters, body). `status` is what is answered."""

    port: int = 0
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    status: int = 204
    came: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def hooked() -> AsyncIterator[Hook]:
    """An HTTP server that takes any post."""
    hook = Hook()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        hook.posts.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(f"HTTP/1.1 {hook.status} Answer\r\nlocation: http://127.0.0.1:{hook.port}/elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        hook.came.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    hook.port = server.sockets[0].getsockname()[1]
    try:
        yield hook
    finally:
        server.close()
        await server.wait_closed()
