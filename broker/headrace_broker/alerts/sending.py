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
DELIVER = {"email": mail.send, "webhook": webhook.send, "apprise": by_apprise.send}


async def send(channel: Channel, secret: str | None, message: Message, now: float) -> str:
    """See `Send`. Takes LONGEST_S at most."""
    try:
        async with asyncio.timeout(LONGEST_S):
            if channel.kind not in DELIVER:
                raise Undelivered(f"this broker is too old to know channels of kind {channel.kind[:60]!r}; a newer one sends what waits")
            return storable(await DELIVER[channel.kind](channel.settings, secret, message, now))
    except Undelivered as error:
        raise Undelivered(storable(str(error))) from error
    except TimeoutError as error:
        raise Undelivered(f"no answer within {LONGEST_S:g} s") from error
    except Exception as error:  # what a library stumbles over, such as an address that only looks like one: it must end neither the duty nor the broker
        raise Undelivered(storable(f"{type(error).__name__}: {error}")) from error


def storable(text: str) -> str:
    """What somebody else's server has said, as a text that the database and messages can hold: bytes that are no UTF-8 come as halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
