"""Tables in memory that are read again twice a second, so that what is changed at one broker counts at all of them within a second.

While the database is away, what is known stays in force.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from headrace_broker import passes

REFRESH_S = 0.5
OVERLAP = timedelta(seconds=60)
"""What was changed so long before the newest known change is read again: changes may become visible in another order than that of their times."""


class Log(Protocol):
    """Where a failure is told."""

    def warning(self, event: str, /, **values: object) -> object:
        """Logs it."""


def _nothing() -> None:
    return None


async def keep_fresh(refresh: Callable[[], Awaitable[None]], what: str, log: Log, *, away: Callable[[], object] = _nothing) -> None:
    """Refreshes until cancelled. That `what` was not read is logged, whatever the reason is; `away` is called then. See `passes.keep`."""
    await passes.keep(refresh, f"{what} not read; what is known stays in force", log.warning, period_s=REFRESH_S, away=away)
