"""Unexpected errors of the owner of a shard: how many there were in a row, how long this broker leaves the shard to others after each, and for how much longer those who
have it do not give it back.
"""

import math

PAUSE_S = (1.0, 30.0)
"""After the first error, and at most; twice as long after each. Long enough that an error which comes at once again does not keep database and log busy."""
AWAY_S = (60.0, 3600.0)
"""The same for the time in which no other broker gives it the shard to make all even: what failed here may go well elsewhere, and each move costs callers a moment."""
WELL_S = 300.0
"""So long without another error, and the next one counts as the first."""


class Stumbles:
    """Of one broker in one shard. Times are monotonic, in seconds. `until`: before that the shard is not taken; `away_until`: nor is it given to this broker."""

    def __init__(self) -> None:
        self.until = self.away_until = -math.inf
        self._in_a_row = 0
        self._away_s = 0.0

    def note(self, now: float) -> float:
        """There is one more; returns how long the shard is left to others."""
        self._in_a_row = self.in_a_row(now) + 1
        first_s, longest_s = PAUSE_S
        pause_s = min(longest_s, first_s * 2.0 ** min(self._in_a_row - 1, 30))
        self.until = now + pause_s
        first_s, longest_s = AWAY_S
        self._away_s = first_s if now >= self.away_until + WELL_S else min(longest_s, self._away_s * 2)
        self.away_until = now + self._away_s
        return pause_s

    def in_a_row(self, now: float) -> int:
        """How many there were; 0 once all has been well for a while."""
        return self._in_a_row if now < self.until + WELL_S else 0
