"""How much more is asked of an owner than it takes, and what follows: when to come back that was refused, and when a stream that was refused is read again.

Both counts fade, so that they tell of the last few seconds. Who is refused hears a delay that grows with the share that is refused: where five times as much is offered
as is taken, everybody comes back at a fifth of the pace, and not all at once (jitter).

A refusal is cheap and not free: its message had to be received. So streams whose requests are refused take turns, and REFUSALS_PER_S of them are read in a second,
however many there are. What is not read stays with its sender: HTTP/2 lets it write no more, and it costs nobody anything. Outcomes, heartbeats and calls come over
other streams.
"""

import math
from collections.abc import Callable

RETRY_S = 0.5
"""When to try again where little is refused: as long as the owner needs for about what it may have in hand."""
MOST_RETRY_S = 10.0
JITTER = 0.25
FADE_S = 2.0
REFUSALS_PER_S = 50
"""Of all streams together: a twentieth of a core, with messages of 100 kB."""
MOST_PAUSE_S = 1.0
"""However many streams are refused, each is heard so often."""


class Pressure:
    """One owner's. `monotonic` in seconds; `random` gives floats in [0, 1)."""

    def __init__(self, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._random = random
        self._at = monotonic()
        self._taken = 0.0
        self._refused = 0.0
        self._next_read = 0.0

    def took(self, jobs: int) -> None:
        """So many jobs wait for their flush now."""
        self._fade()
        self._taken += jobs

    def refused(self, jobs: int) -> None:
        """So many jobs were not taken for want of room."""
        self._fade()
        self._refused += jobs

    def retry_s(self) -> float:
        """When who is refused now is to try again, in seconds."""
        self._fade()
        asked = max(1.0, (self._taken + self._refused) / max(1.0, self._taken))
        return min(MOST_RETRY_S, RETRY_S * asked) * (1 + JITTER * self._random())

    def pause_s(self) -> float:
        """A request of a stream was refused: for how long the stream is not read, in seconds."""
        now = self._monotonic()
        self._next_read = min(now + MOST_PAUSE_S, max(now, self._next_read) + 1 / REFUSALS_PER_S)
        return self._next_read - now

    def _fade(self) -> None:
        now = self._monotonic()
        left = math.exp((self._at - now) / FADE_S)
        self._at, self._taken, self._refused = now, self._taken * left, self._refused * left
