"""Channels: where notices go. Secrets are not part of a channel: they stand in a table of their own, and go to the sender alone."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.headerregistry import Address
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from headrace_broker.model.addresses import is_loopback
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.fields import text

NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
KINDS = ("email", "webhook", "apprise")
TLS = ("starttls", "tls", "none")
MAX_CAP = 1000
MAX_RECIPIENTS = 50
HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}", re.ASCII)
_NUMBERS = re.compile(r"[0-9.]+")
SECRET_PREFIX = "whsec_"  # noqa: S105  # what a secret of Standard Webhooks begins with
SECRET_BYTES = (24, 64)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of a domain. `settings`: of e-mail host, port, tls, username, sender, recipients; of a webhook url. `default`: gets what names no channel.

    `cap_per_hour`: messages in any hour. `channel_id` 0: not stored.
    """

    name: str
    domain: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    default: bool = True
    send_resolved: bool = True
    cap_per_hour: int = 20
    channel_id: int = 0
    has_secret: bool = False

    def shown(self) -> dict[str, Any]:
        """As the audit and people see it; without the secret."""
        return {
            "kind": self.kind, **self.settings, "default": self.default, "send_resolved": self.send_resolved, "cap_per_hour": self.cap_per_hour,
            "secret": "set" if self.has_secret else "not set",
        }  # fmt: skip


def check(channel: Channel, secret: str | None) -> None:
    """Raises InvalidField for what cannot work. `secret`: the new one; None: as it was."""
    if not NAME.fullmatch(channel.name):
        raise InvalidField("channel.name", f"a channel's name is 1 to 100 characters of A-Z a-z 0-9 . _ -, found {channel.name[:60]!r}")
    if not 1 <= channel.cap_per_hour <= MAX_CAP:
        raise InvalidField("channel.cap_per_hour", f"1 to {MAX_CAP} messages, found {channel.cap_per_hour}")
    has_secret = bool(secret) if secret is not None else channel.has_secret
    if channel.kind == "email":
        _check_email(channel.settings, has_secret)
    elif channel.kind == "apprise":
        _check_apprise(secret, has_secret)
    else:
        _check_webhook(channel.settings, secret, has_secret)


def _check_email(settings: Mapping[str, Any], has_secret: bool) -> None:
    where = "channel.email"
    if not HOST.fullmatch(settings["host"]):
        raise InvalidField(f"{where}.host", f"the name or address of an SMTP server, found {settings['host'][:60]!r}")
    if not 1 <= settings["port"] <= 65_535:
        raise InvalidField(f"{where}.port", f"1 to 65535, found {settings['port']}")
    if settings["tls"] == "none" and settings["username"] and not is_loopback(settings["host"]):
        raise InvalidField(f"{where}.tls", "a password is not sent to another machine in the clear: choose starttls or tls, or no username")
    text(f"{where}.username", settings["username"])
    if bool(settings["username"]) != has_secret:
        raise InvalidField(f"{where}.username", "a user name and a password belong together: give both or none")
    _check_address(f"{where}.sender", settings["sender"])
    if not 1 <= len(settings["recipients"]) <= MAX_RECIPIENTS:
        raise InvalidField(f"{where}.recipients", f"1 to {MAX_RECIPIENTS} addresses, found {len(settings['recipients'])}")
    for index, recipient in enumerate(settings["recipients"]):
        _check_address(f"{where}.recipients[{index}]", recipient)


def _check_address(name: str, text: str) -> None:
    try:
        found = Address(addr_spec=text)
        if not found.username or not found.domain or len(text) > 254 or not text.isascii() or not text.isprintable():
            raise ValueError(text)
    except Exception as error:  # of classes of its own, and what its parser stumbles over
        raise InvalidField(name, f"an address such as ops@example.org, found {text[:60]!r}") from error


def _check_webhook(settings: Mapping[str, Any], secret: str | None, has_secret: bool) -> None:
    url = settings["url"]
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and (parts.port or 1) > 0
        if parts.hostname is not None and _NUMBERS.fullmatch(parts.hostname):
            ip_address(parts.hostname)
    except ValueError:
        good = False
    if not good or len(url) > 2000 or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidField("channel.webhook.url", "an address such as https://example.org/alerts, without a user in it")
    if not has_secret:
        raise InvalidField("secret", "a webhook needs a secret, with which its messages are signed: whsec_ and 24 to 64 bytes as base64")
    if secret:
        signing_key(secret)


def _check_apprise(url: str | None, has_url: bool) -> None:
    """Whether apprise knows such an address is asked where it is installed (`alerts.by_apprise`). The text does not repeat it."""
    if not has_url:
        raise InvalidField("secret", "an apprise channel needs an address of apprise, such as slack://...: it is the secret, since it has tokens in it")
    if url and ("://" not in url or not url.isprintable() or " " in url):
        raise InvalidField("secret", "one address of apprise, such as slack://..., without spaces")


def signing_key(secret: str) -> bytes:
    """The key that a secret of Standard Webhooks spells. Raises InvalidField; the text does not repeat it."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    low, high = SECRET_BYTES
    if not secret.startswith(SECRET_PREFIX) or not low <= len(key) <= high:
        raise InvalidField("secret", f"{SECRET_PREFIX} and {low} to {high} bytes as base64, such as `echo whsec_$(openssl rand -base64 32)` makes")
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature` (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md): HMAC-SHA256 of id.timestamp.body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
