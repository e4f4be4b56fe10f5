"""How many jobs of each type were granted in the last minute: what estimates of when a job starts are made of."""

from collections import Counter, deque
from collections.abc import Iterable

STEP_S = 5
STEPS = 12


class Pace:
    """Grants by type, in steps of `STEP_S` seconds. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, Counter[int]]] = deque(maxlen=STEPS + 1)  # the present one is not over
        self._began: float | None = None

    def granted(self, now: float, type_id: int, count: int) -> None:
        """Jobs of a type were granted."""
        step = int(now // STEP_S)
        if self._began is None:
            self._began = now
        if not self._steps or self._steps[-1][0] < step:
            self._steps.append((step, Counter()))
        self._steps[-1][1][type_id] += count

    def recent(self, now: float, type_ids: Iterable[int]) -> tuple[int, float]:
        """(grants of these types, in how many seconds up to now): the last minute, or as long as anything is known."""
        oldest = int(now // STEP_S) - STEPS
        wanted = set(type_ids)
        count = sum(count for step, counts in self._steps if step >= oldest for type_id, count in counts.items() if type_id in wanted)
        since = max(oldest * STEP_S, self._began if self._began is not None else now)
        return count, max(1.0, now - since)
