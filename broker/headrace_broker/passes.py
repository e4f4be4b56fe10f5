"""Passes that follow one another as long as the process runs. No error ends them: it costs a line in the log, and another try.

What is usual, above all a database that is away, is tried again at the same pace. What nobody expected is a defect, or a row that this broker cannot understand: it is
told with its traceback, and tried again after pauses that grow, so that it does not fill the log.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from headrace_broker.model.errors import BrokerError
from headrace_broker.store.pool import ANY_FAILURE

PAUSE_S = (1.0, 30.0)
"""After the first error that nobody expected, and at most; twice as long after each that follows."""

log = structlog.get_logger("headrace.passes")


def _nothing() -> None:
    return None


async def keep(
    run_once: Callable[[], Awaitable[object]], failed: str, usual: Callable[..., object], *, period_s: float, away: Callable[[], object] = _nothing
) -> None:  # fmt: skip
    """Runs passes until cancelled, `period_s` after one another. `failed`: what is told of one that fails, to `usual` if that is usual; `away` is called then."""
    in_a_row = 0
    while True:
        pause_s = period_s
        try:
            await run_once()
            in_a_row = 0
        except (BrokerError, *ANY_FAILURE) as error:
            usual(failed, reason=f"{type(error).__name__}: {error}")
            away()
        except Exception as error:
            first_s, longest_s = PAUSE_S
            pause_s = min(longest_s, first_s * 2.0 ** min(in_a_row, 30))
            in_a_row += 1
            log.error(f"{failed}: an error that should not be; please report it", again_in_s=pause_s, reason=f"{type(error).__name__}: {error}", exc_info=error)
            away()
        await asyncio.sleep(pause_s)
