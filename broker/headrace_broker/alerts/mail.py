"""E-mail by SMTP. aiosmtplib, because a server that answers slowly must not hold a thread each; it speaks STARTTLS, TLS and LOGIN, and checks certificates."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.words import Message

TIMEOUT_S = 30.0


async def send(settings: Mapping[str, Any], secret: str | None, message: Message, now: float) -> str:
    """Hands a message to the channel's server; returns which recipients it refused, if others had it. Raises Undelivered when nobody had."""
    import aiosmtplib  # like httpx for webhooks: only brokers that send mail pay for it

    try:
        refused, _ = await aiosmtplib.send(
            compose(settings, message, now), hostname=settings["host"], port=settings["port"], username=settings["username"] or None, password=secret or None,
            use_tls=settings["tls"] == "tls", start_tls=settings["tls"] == "starttls", timeout=TIMEOUT_S, sender=settings["sender"], recipients=settings["recipients"],
        )  # fmt: skip
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
        raise Undelivered(f"{type(error).__name__}: {error}") from error
    if not refused:
        return ""
    return f"refused for {', '.join(sorted(refused))}: {next(iter(refused.values())).message}"  # trying again would give it to the others once more


def compose(settings: Mapping[str, Any], message: Message, now: float) -> EmailMessage:
    """The mail: plain text, marked as made by a program (RFC 3834), so that nobody's absence answers it."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = settings["sender"]
    mail["To"] = ", ".join(settings["recipients"])
    mail["Subject"] = _one_line(message.subject)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    mail["Message-ID"] = f"<{message.message_id}@{settings['sender'].rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Headrace-Count"] = str(message.count)
    mail.set_content(message.text.replace("\x00", ""))
    return mail


def _one_line(text: str) -> str:
    """A header cannot have line breaks, whatever an error's text has."""
    return "".join(character if character.isprintable() else " " for character in text)[:300]
