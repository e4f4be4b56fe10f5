"""Notices by apprise (https://github.com/caronc/apprise), which knows more than a hundred services. It is an extra: `pip install "headrace[apprise]"`.

An address of apprise has tokens and passwords in it, so all of it is the channel's secret, and nothing that apprise says is told or logged: it may repeat parts of it.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.words import Message
from headrace_broker.model.errors import InvalidField

if TYPE_CHECKING:
    import apprise

MISSING = 'apprise is not installed where the broker runs: pip install "headrace[apprise]" there, and start the broker again'


async def check(url: str) -> None:
    """Raises InvalidField when apprise is not installed, or knows no such address; the text does not repeat it."""
    try:
        known = await asyncio.to_thread(_plugin, url)
    except ImportError as error:
        raise InvalidField("channel.apprise", MISSING) from error
    if known is None:
        raise InvalidField("secret", "apprise knows no such address: https://github.com/caronc/apprise/wiki has those of each service")


async def send(settings: Mapping[str, Any], secret: str | None, message: Message, now: float) -> str:
    """Hands a message to the service. Raises Undelivered when it does not take it."""
    try:
        plugin = await asyncio.to_thread(_plugin, secret or "")
        taken = await plugin.async_notify(body=message.text, title=message.subject) if plugin is not None else None
    except ImportError as error:
        raise Undelivered(MISSING) from error
    except Exception as error:  # of a hundred services; its text may have the address in it
        raise Undelivered(f"apprise failed: {type(error).__name__}") from None
    if taken is None:
        raise Undelivered("apprise knows no such address")
    if not taken:
        raise Undelivered("the service did not take it; apprise says more, and secrets with it: try the address with its own command line")
    return ""


def _plugin(url: str) -> "apprise.NotifyBase | None":
    """The sender of an address; None: there is none. Raises ImportError. Takes a second at first, so it runs in a thread."""
    import apprise

    logging.getLogger("apprise").disabled = True
    asset = apprise.AppriseAsset(app_id="headrace", app_desc="headrace", app_url="", secure_logging=True)
    return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True) if url else None
