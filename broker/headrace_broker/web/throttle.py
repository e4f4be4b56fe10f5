"""How often somebody may try to log in: a few times at once, then after pauses that double. Pure but for the clock that is passed in.

Counted for the name that was typed, whether anybody has it or not, and for the address it came from. With the figures for names below, about a hundred guesses a day
reach one account from all addresses together, each of which costs a slow hash; NIST SP 800-63B-4, section 3.2.2, asks for a limit of that order. A try counts before
it is answered, so that many at once are no way around.
"""

from collections.abc import Callable
from dataclasses import dataclass

MOST_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Limit:
    """`free` tries at once; each further one after a pause, of `first_s`, then twice as long, up to `most_s`. Forgotten `forget_s` after the last try."""

    free: int
    first_s: float
    most_s: float
    forget_s: float


NAMES = Limit(free=5, first_s=2.0, most_s=900.0, forget_s=86_400.0)
ADDRESSES = Limit(free=20, first_s=1.0, most_s=60.0, forget_s=900.0)  # an address may be a proxy's, or that of an office


class Throttle:
    """Tries by key under one limit."""

    def __init__(self, limit: Limit, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._tries: dict[str, tuple[int, float]] = {}  # by key, the one that was tried least lately first: how many, when the last one was

    def wait_s(self, key: str) -> float:
        """How long until the next try; 0: now."""
        count, last = self._of(key)
        if count < self._limit.free:
            return 0.0
        pause_s = min(self._limit.most_s, self._limit.first_s * 2.0 ** min(count - self._limit.free, 60))
        return max(0.0, last + pause_s - self._monotonic())

    def tried(self, key: str) -> None:
        """Counts a try, of which nothing is known yet."""
        count, _ = self._of(key)
        self._tries.pop(key, None)
        if len(self._tries) >= MOST_KEYS:
            del self._tries[next(iter(self._tries))]
        self._tries[key] = count + 1, self._monotonic()

    def forgive(self, key: str) -> None:
        """The last try was right: those before it are forgotten."""
        self._tries.pop(key, None)

    def take_back(self, key: str) -> None:
        """The last try was right: it does not count, those before it do."""
        if key in self._tries:
            count, last = self._tries[key]
            self._tries[key] = count - 1, last

    def _of(self, key: str) -> tuple[int, float]:
        count, last = self._tries.get(key, (0, 0.0))
        return (0, 0.0) if count and self._monotonic() - last > self._limit.forget_s else (count, last)
