"""The database's clock, read once and carried on by this machine's monotonic clock."""

from collections.abc import Callable
from datetime import UTC, datetime

MAX_STEP_S = 5.0


class DatabaseClock:
    """An estimate of the database's time, good to about one round trip. `monotonic` is the loop's clock, in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._offset = 0.0
        self._advanced_s = 0.0
        self._set = False

    def set(self, database_s: float, before: float, after: float) -> float:
        """Takes a reading that was made between two monotonic times; returns the step in seconds by which the estimate changed."""
        offset = database_s + self._advanced_s - (before + after) / 2
        step = offset - self._offset if self._set else 0.0
        self._offset, self._set = offset, True
        return step

    def advance(self, seconds: float) -> None:
        """For tests: from now on the clock is ahead of the database's by so much more."""
        self._advanced_s += seconds
        self._offset += seconds

    @property
    def offset_s(self) -> float:
        """The database's time less the monotonic time, in seconds."""
        return self._offset

    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._monotonic() + self._offset

    def now(self) -> datetime:
        """The same as an aware time in UTC."""
        return datetime.fromtimestamp(self.now_s(), UTC)

    def monotonic_at(self, unix_s: float) -> float:
        """The monotonic time at which the database's clock will show `unix_s`."""
        return unix_s - self._offset
