"""How the flushes of this broker go: the slowest and the failed ones of the last hour, for the rule that watches the database. Costs a flush a little, a job nothing."""

from collections import deque

BUCKET_S = 5.0
KEPT_S = 3600.0


class FlushHealth:
    """Times are monotonic, in seconds. Written by the flusher's task."""

    def __init__(self) -> None:
        self._buckets: deque[list[float]] = deque()  # [number, slowest_s, failures]
        self._began: float | None = None  # of the flush that is under way
        self._error = ""

    def begin(self, now: float) -> None:
        """A flush is sent."""
        self._began = now

    def stored(self, now: float) -> None:
        """It was stored."""
        if self._began is not None:
            bucket = self._bucket(now)
            bucket[1] = max(bucket[1], now - self._began)
        self._began = None

    def failed(self, now: float, error: str) -> None:
        """It was not, or nobody knows."""
        self._bucket(now)[2] += 1
        self._error = error

    def recent(self, now: float, window_s: float) -> tuple[float, int, str]:
        """(slowest flush of the window in seconds, the one under way included; failures; the newest one in words)."""
        seen = [bucket for bucket in self._buckets if bucket[0] >= (now - window_s) // BUCKET_S]
        slowest_s = max([bucket[1] for bucket in seen], default=0.0)
        if self._began is not None:
            slowest_s = max(slowest_s, now - self._began)
        return slowest_s, int(sum(bucket[2] for bucket in seen)), self._error

    def under_way_s(self, now: float) -> float:
        """How long the flush that is under way has taken so far; 0: there is none."""
        return now - self._began if self._began is not None else 0.0

    def forget(self) -> None:
        """What went wrong so far was told, and with it the flush that is under way, which may have been held up by that."""
        self._buckets.clear()
        self._began = None

    def _bucket(self, now: float) -> list[float]:
        number = now // BUCKET_S
        if not self._buckets or self._buckets[-1][0] != number:
            self._buckets.append([number, 0.0, 0.0])
            while self._buckets[0][0] < number - KEPT_S / BUCKET_S:
                self._buckets.popleft()
        return self._buckets[-1]
