"""Sends one message to one channel, whatever its kind."""

import asyncio
from collections.abc import Awaitable, Callable

from headrace_broker.alerts import by_apprise, mail, webhook
from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.words import Message
from headrace_broker.model.alert_channel import Channel

LONGEST_S = 45.0

Send = Callable[[Channel, str | None, Message, float], Awaitable[str]]
"""(channel, its secret, message, now in seconds since 1970). Returns what there is to say although it was delivered, mostly nothing; raises Undelivered."""


async def send(channel: Channel, secret: str | None, message: Message, now: float) -> str:
    """See `Send`. Takes LONGEST_S at most."""
    deliver = {"email": mail.send, "webhook": webhook.send, "apprise": by_apprise.send}[channel.kind]
    try:
        async with asyncio.timeout(LONGEST_S):
            return await deliver(channel.settings, secret, message, now)
    except TimeoutError as error:
        raise Undelivered(f"no answer within {LONGEST_S:g} s") from error
