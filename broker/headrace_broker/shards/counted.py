"""How many jobs there are, by type, state and delete minute; and how many of them show, which is asked for all the time.

Each minute of the delete dates of a type has a key of its own: a type that is never idle has 10,000 of them for jobs that are kept for a week. Who wants to know how many
jobs there are now does not go through them all: what shows is kept beside them, and what a date hides leaves it when its minute comes.
"""

import heapq
from collections import Counter
from collections.abc import Mapping

from headrace_broker.model.job import State

Key = tuple[int, State, int]
"""(type_id, state, minute since 1970 from which the jobs are gone; 0: none)"""


class Counted(dict[Key, int]):
    """Durable jobs of one owner; what is not here is 0. Changed by `load`, `add`, `c[key] += n` and `del c[key]` alone: they keep what shows."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: Counter[tuple[int, State]] = Counter()
        self._later: dict[int, set[Key]] = {}  # minute that has not come -> keys of it
        self._minutes: list[int] = []  # heap of these
        self._hidden = 0  # minutes up to this one have come

    def __missing__(self, key: Key) -> int:
        return 0

    def __setitem__(self, key: Key, count: int) -> None:
        type_id, state, minute = key
        if not 0 < minute <= self._hidden:
            self._shown[type_id, state] += count - self[key]
            if minute and key not in self:
                if minute not in self._later:
                    self._later[minute] = set()
                    heapq.heappush(self._minutes, minute)
                self._later[minute].add(key)
        super().__setitem__(key, count)

    def __delitem__(self, key: Key) -> None:
        self[key] = 0
        super().__delitem__(key)

    def load(self, counts: Mapping[Key, int]) -> None:
        """Begins anew with these, which may be many."""
        self.clear()
        self.update(counts)  # which by itself follows nothing
        self._shown.clear()
        self._later.clear()
        self._hidden = 0
        for key, count in counts.items():
            self._shown[key[:2]] += count
            if key[2]:
                self._later.setdefault(key[2], set()).add(key)
        self._minutes = sorted(self._later)

    def add(self, changes: Mapping[Key, int]) -> None:
        """There are so many more."""
        for key, change in changes.items():
            self[key] += change

    def shown(self, minute: int) -> Mapping[tuple[int, State], int]:
        """(type_id, state) -> jobs, without those whose minute has come by this one; some may be 0. Not to be kept: it changes."""
        if minute < self._hidden:  # the clock was set back
            self.load(dict(self))
        self._hidden = minute
        while self._minutes and self._minutes[0] <= minute:
            for key in self._later.pop(heapq.heappop(self._minutes)):
                self._shown[key[:2]] -= self[key]
        return self._shown

    def unsettled(self, state: State) -> dict[int, int]:
        """type_id -> jobs that wait, or that run."""
        return {type_id: count for (type_id, known), count in self._shown.items() if known is state and count}
