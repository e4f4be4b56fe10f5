"""Webhooks, signed as Standard Webhooks says: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

`webhook-id` is the same each time a message is tried; `webhook-timestamp` is when it is sent, in seconds since 1970; `webhook-signature` is `v1,` and the base64 of the
HMAC-SHA256 over "id.timestamp.body" with the bytes of the secret. Redirects are not followed: they would carry the message to somewhere that nobody chose.
"""

import json
from collections.abc import Mapping
from typing import Any

from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.words import Message
from headrace_broker.model.alert_channel import signature, signing_key

TIMEOUT_S = 15.0


async def send(settings: Mapping[str, Any], secret: str | None, message: Message, now: float) -> str:
    """Posts a message. Raises Undelivered for anything but an answer of 200 to 299."""
    if not secret:
        raise Undelivered("the channel has no secret")
    import httpx  # a tenth of a second, which only brokers with a webhook pay

    body = json.dumps(message.payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        "content-type": "application/json", "user-agent": "headrace", "webhook-id": message.message_id, "webhook-timestamp": str(int(now)),
        "webhook-signature": signature(signing_key(secret), message.message_id, int(now), body),
    }  # fmt: skip
    try:
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client,
            client.stream("POST", settings["url"], content=body, headers=headers) as answer,
        ):
            status = answer.status_code  # what it says beyond that is nobody's business here
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise Undelivered(f"{type(error).__name__}: {error}") from error
    if not 200 <= status < 300:
        raise Undelivered(f"HTTP {status}")
    return ""
