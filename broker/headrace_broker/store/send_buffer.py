"""Room in a socket for a whole flush.

What does not fit into the buffer of a Unix socket when a flush is written waits until the event loop looks at the socket again, milliseconds later under load, and
Postgres waits with it. Linux gives 208 KiB; a thousand jobs with payloads of 200 bytes, submitted, granted and completed, are 340. TCP widens its buffers itself.

asyncpg does not show its socket in public: where it can't be had any more, only speed is lost.
"""

import os
import socket
from typing import Any

import asyncpg

BYTES = 1 << 20
"""Linux gives twice that, or twice `net.core.wmem_max` when that is less: 416 KiB as it is set up by default."""


def widen(con: "asyncpg.Connection[Any]") -> bool:
    """Gives a connection over a Unix socket a large buffer for what it sends; False: it is another one, or the driver does not let us."""
    shown = getattr(con, "_transport", None)
    found = shown.get_extra_info("socket") if shown is not None else None
    if found is None or found.family != socket.AF_UNIX:
        return False
    with socket.socket(fileno=os.dup(found.fileno())) as same:  # what the loop shows has no setsockopt
        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BYTES)
    return True
