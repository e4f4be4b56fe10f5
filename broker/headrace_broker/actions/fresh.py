"""Tables in memory that are read again twice a second, so that what is changed at one broker counts at all of them within a second.

While the database is away, what is known stays in force.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from headrace_broker.model.errors import BrokerError
from headrace_broker.store.pool import ANY_FAILURE

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
    """Refreshes until cancelled. That `what` was not read is logged while the database is away or another table cannot be read; `away` is called then."""
    while True:
        try:
            await refresh()
        except (BrokerError, *ANY_FAILURE) as error:
            log.warning(f"{what} not read; what is known stays in force", reason=f"{type(error).__name__}: {error}")
            away()
        await asyncio.sleep(REFRESH_S)
