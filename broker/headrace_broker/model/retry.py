"""When a failed attempt is tried again."""

from headrace_broker.model.settings import Settings


def delay_s(settings: Settings, attempt: int, random: float) -> float:
    """Seconds to wait after attempt number `attempt` (from 1) failed.

    Exponential backoff, capped, then spread evenly by the jitter: `random` in [0, 1) picks a place in 1 - jitter .. 1 + jitter.
    The cap holds before the spread, so that the jobs of a long outage do not come back in one second.
    """
    exponent = min(attempt - 1, 1000)
    try:
        wait = settings.retry_delay_s * settings.retry_factor**exponent
    except OverflowError:
        wait = settings.retry_max_s
    return min(wait, settings.retry_max_s) * (1 + settings.retry_jitter * (2 * random - 1))
