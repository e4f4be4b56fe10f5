"""How many calls, and how many bytes of them, a token and a domain may bring per second. Each broker counts for itself, on its monotonic clock.

A bucket for each of them fills by the rate, up to BURST_S seconds of it, and is paid from by what comes; it may go below zero once, so that a message that is larger than
the bucket passes too, and is paid for by those after it. Calls of agents are free: their jobs were let in before, and an outcome that is refused comes back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from headrace_broker.metrics import Metrics
from headrace_broker.model.access import Identity
from headrace_broker.model.errors import QuotaExceeded
from headrace_broker.store.tokens import TokenRow

BURST_S = 2.0
REMEMBERED = 10_000
"""Buckets; those that were used longest ago begin anew, full."""
FREE = "/headrace.v1.Agents/"
LEAST_S = 0.05


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """Per second; 0: no limit."""

    token_calls_per_s: float = 0.0
    token_bytes_per_s: float = 0.0
    domain_calls_per_s: float = 0.0
    domain_bytes_per_s: float = 0.0

    def __bool__(self) -> bool:
        return any((self.token_calls_per_s, self.token_bytes_per_s, self.domain_calls_per_s, self.domain_bytes_per_s))


class Quotas:
    """See the module. Only the event loop's own thread uses it."""

    def __init__(self, limits: QuotaLimits, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._metrics = metrics
        self._monotonic = monotonic
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()  # (quota, whose): what is in it, when

    def take(self, who: TokenRow | Identity | None, domain: str, size: int) -> None:
        """Pays for one call with a message of `size` bytes. Raises QuotaExceeded; then nothing is paid."""
        wait_s, quota = self._pay(who, domain, size)
        if wait_s:
            self._metrics.quota_refusals.labels(quota.replace(" ", "_")).inc()
            whose = f"domain {domain!r}" if quota.startswith("domain") else who.called if who is not None else ""
            raise QuotaExceeded(f"{whose} has used up what it may bring: its quota of {quota.partition(' ')[2]} per second", wait_s)

    async def wait(self, who: TokenRow | Identity | None, domain: str, size: int) -> None:
        """Pays for one message of a stream, when there is enough for it: a stream is slowed down and not refused, since what waits behind it waits at the client."""
        while wait_s := self._pay(who, domain, size)[0]:
            await asyncio.sleep(wait_s)

    def _pay(self, who: TokenRow | Identity | None, domain: str, size: int) -> tuple[float, str]:
        """(seconds until there is enough, and of which quota there is not); 0: it is paid."""
        limits, now = self._limits, self._monotonic()
        due = [("domain calls", domain, limits.domain_calls_per_s, 1.0), ("domain bytes", domain, limits.domain_bytes_per_s, float(size))]
        if who is not None:
            whose = f"{who.token_id} {who.name}"
            due += [("token calls", whose, limits.token_calls_per_s, 1.0), ("token bytes", whose, limits.token_bytes_per_s, float(size))]
        levels: list[tuple[tuple[str, str], float]] = []
        for quota, key, rate, cost in due:
            if not rate:
                continue
            level, at = self._buckets.get((quota, key), (rate * BURST_S, now))
            level = min(rate * BURST_S, level + (now - at) * rate)
            if level <= 0:
                return max(LEAST_S, -level / rate), quota
            levels.append(((quota, key), level - cost))
        for bucket, level in levels:
            self._buckets[bucket] = level, now
            self._buckets.move_to_end(bucket)
        while len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0, ""
