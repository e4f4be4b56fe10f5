"""Pages with a part that follows what it shows: the browser asks for that part anew, and gets it only if it has changed, so that what is open or selected there stays."""

import hashlib
import re
from typing import Any

from starlette.responses import Response

from headrace_broker.web.visit import Visit, html

SEEN = "seen=SEEN"
"""Stands in the address that a part has of itself, before anything that somebody stored; the digest goes there."""
VOLATILE = re.compile(r"<(time|data)\b.*?</\1>", re.DOTALL)
"""What changes by itself as time goes by does not count; the browser rewrites times."""


def follows(visit: Visit) -> bool:
    """Whether the page itself asks, for its part."""
    return bool(visit.request.headers.get("hx-request"))


def page(visit: Visit, name: str, **values: Any) -> Response:
    """`name`.html, or its `name`_part.html where the page itself asks; 204 when it has that already. The part has an address with `SEEN` in it."""
    if not follows(visit):
        return html(visit, f"{name}.html", **values)
    text = bytes(html(visit, f"{name}_part.html", **values).body).decode()
    digest = hashlib.blake2s(VOLATILE.sub("", text).encode(), digest_size=8).hexdigest()
    if digest == visit.query("seen"):
        return Response(status_code=204)
    return Response(text.replace(SEEN, f"seen={digest}", 1), media_type="text/html")
