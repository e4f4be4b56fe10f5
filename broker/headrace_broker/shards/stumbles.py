"""Unexpected errors of the owner of a shard: how many there were in a row, and how long this broker leaves the shard to others after each."""

import math

PAUSE_S = (1.0, 30.0)
"""After the first error, and at most; twice as long after each. Long enough that an error which comes at once again does not keep database and log busy."""
WELL_S = 300.0
"""So long without another error, and the next one counts as the first."""


class Stumbles:
    """Of one broker in one shard. Times are monotonic, in seconds. `until`: before that the shard is not taken."""

    def __init__(self) -> None:
        self.until = -math.inf
        self._in_a_row = 0

    def note(self, now: float) -> float:
        """There is one more; returns how long the shard is left to others."""
        self._in_a_row = self.in_a_row(now) + 1
        first_s, longest_s = PAUSE_S
        pause_s = min(longest_s, first_s * 2.0 ** min(self._in_a_row - 1, 30))
        self.until = now + pause_s
        return pause_s

    def in_a_row(self, now: float) -> int:
        """How many there were; 0 once all has been well for a while."""
        return self._in_a_row if now < self.until + WELL_S else 0
