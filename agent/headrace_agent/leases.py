"""The leases that an agent holds, and until when each may be trusted. Used by the session thread only; times are those of `clock_s`.

A lease is trusted until (time at which the agent sent the newest message that the broker confirmed) + lease - margin, so that the work has stopped here before it can
begin elsewhere, whatever the network does (Gray and Cheriton, "Leases", 1989).
"""

import time
from collections import Counter
from typing import TYPE_CHECKING

from headrace_agent.job import Job

if TYPE_CHECKING:
    from headrace_agent.session import Session


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine is suspended, as leases do. On Linux the monotonic clock, which is that of event loops, stands still then (clock_gettime(2))."""


def clock_s() -> float:
    """Seconds of the clock that leases are counted on. Compared with itself only: timers of the event loop run on another one."""
    return time.clock_gettime(_CLOCK)


def margin_s(lease_s: float) -> float:
    """How long before its end a lease is given up: time for a handler to be stopped."""
    return min(2.0, 0.1 + lease_s * 0.05)


class Held:
    """One lease. `finished`: the handler is done, and the outcome waits for its acknowledgement."""

    __slots__ = ("finished", "job", "session", "stopping", "until")

    def __init__(self, job: Job, session: "Session", until: float) -> None:
        self.job = job
        self.session = session
        self.until = until
        self.finished = False
        self.stopping = False


class Leases:
    """Leases by (job_id, lease epoch). How many run is counted as they come and go: it is asked for every job."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], Held] = {}
        self._running: Counter[str] = Counter()  # by type
        self.running = 0
        """Leases whose handler is not done: slots in use."""

    def __len__(self) -> int:
        return len(self._held)

    def running_of(self, type_: str) -> int:
        """`running` for one type."""
        return self._running[type_]

    def add(self, held: Held) -> None:
        """A job was assigned."""
        self._held[held.job.key] = held
        self._running[held.job.type] += 1
        self.running += 1

    def finish(self, held: Held) -> None:
        """Its handler is done."""
        if not held.finished:
            held.finished = True
            self._running[held.job.type] -= 1
            self.running -= 1

    def find(self, key: tuple[int, int]) -> Held | None:
        """The lease of (job_id, lease epoch), if it is held."""
        return self._held.get(key)

    def remove(self, key: tuple[int, int]) -> None:
        """The lease is over."""
        held = self._held.pop(key, None)
        if held is not None and not held.finished:
            self.finish(held)

    def of(self, session: "Session") -> list[Held]:
        """Leases that came, or were claimed, through a session."""
        return [held for held in self._held.values() if held.session is session]

    def all(self) -> list[Held]:
        """All leases."""
        return list(self._held.values())

    def expired(self, now: float) -> list[Held]:
        """Leases that may not be trusted any more and whose handlers still run."""
        return [held for held in self._held.values() if now >= held.until and not held.finished and not held.stopping]
