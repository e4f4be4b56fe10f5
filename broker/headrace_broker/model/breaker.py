"""The breaker of a job type: a state machine without clock, database or network.

    closed --the share of failed attempts among enough of the window is reached--> open
    open --its wait is over--> half-open                     (`half_open`)
    half-open --a canary fails--> open, for twice as long    (`canary`)
    half-open --enough canaries have completed--> closed     (`canary`)
    open, half-open --somebody closes it--> closed           (`close`)

The name and the states are those of Nygard, "Release It!" (2007), chapter 5. What ends while the breaker is not closed, and is no canary, says nothing: it began before.
All times are seconds of one monotonic clock.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from headrace_broker.model.settings import Settings

SLOTS = 10
"""Of a window: what ended is forgotten by tenths of it, so the window is between nine tenths and all of what is set, and its memory does not grow with the jobs."""
MOST_STEPS = 64
"""Openings in a row that are counted; the wait has reached its longest long before."""


class Phase(StrEnum):
    """How a breaker stands. The texts are stored and are those of the wire."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Rule:
    """What people set: open at this share of failures among at least `minimum` attempts in `window_s`; wait, longer each time; so many canaries close it."""

    share: float
    minimum: int
    window_s: float
    open_s: float
    open_max_s: float
    canaries: int
    at_once: int

    @classmethod
    def of(cls, settings: Settings) -> "Rule | None":
        """The rule of a job type; None: it has no breaker."""
        if not settings.breaker_share:
            return None
        return cls(
            settings.breaker_share, settings.breaker_minimum, settings.breaker_window_s, settings.breaker_open_s, settings.breaker_open_max_s,
            settings.breaker_canaries, settings.breaker_at_once,
        )  # fmt: skip

    def wait_s(self, step: int) -> float:
        """How long it stays open the `step`-th time in a row (from 1 on) before a canary."""
        return min(self.open_s * 2.0 ** (min(step, MOST_STEPS) - 1), max(self.open_s, self.open_max_s))


class Window:
    """Attempts that ended within the last `seconds`, and how many of them failed."""

    def __init__(self, seconds: float) -> None:
        self._width = seconds / SLOTS
        self._slots: deque[tuple[int, int, int]] = deque()  # (number of the slot, ended, failed), oldest first
        self._ended = self._failed = 0

    def add(self, now: float, completed: int, failed: int) -> None:
        """So many ended now."""
        number, ended = int(now // self._width), completed + failed
        if self._slots and self._slots[-1][0] >= number:
            number, before, failed_before = self._slots.pop()
            self._slots.append((number, before + ended, failed_before + failed))
        else:
            self._slots.append((number, ended, failed))
        self._ended, self._failed = self._ended + ended, self._failed + failed

    def totals(self, now: float) -> tuple[int, int]:
        """(ended, failed) as of now."""
        oldest = int(now // self._width) - SLOTS + 1
        while self._slots and self._slots[0][0] < oldest:
            _, ended, failed = self._slots.popleft()
            self._ended, self._failed = self._ended - ended, self._failed - failed
        return self._ended, self._failed


class Breaker:
    """One type's. `step`: openings in a row; `until`: when a canary may go, while it is open; `passed`: canaries that completed, while it is half-open.

    `ended`, `failed`: what the window had when it opened. `version` rises with every change of the phase.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.phase = Phase.CLOSED
        self.step = 0
        self.until = 0.0
        self.passed = 0
        self.ended = 0
        self.failed = 0
        self.version = 0
        self._window = Window(rule.window_s)

    def set_rule(self, rule: Rule) -> None:
        """Another rule from now on. The window begins anew where its length is another; how long it stays open is not changed before it opens again."""
        if rule.window_s != self.rule.window_s:
            self._window = Window(rule.window_s)
        self.rule = rule

    def restore(self, phase: Phase, *, step: int, until: float, ended: int, failed: int) -> None:
        """As it was stored."""
        self.phase, self.step, self.until, self.ended, self.failed = phase, step, until, ended, failed

    def totals(self, now: float) -> tuple[int, int]:
        """(ended, failed): of the window while it is closed, else of when it opened."""
        return self._window.totals(now) if self.phase is Phase.CLOSED else (self.ended, self.failed)

    def attempts(self, now: float, completed: int, failed: int) -> bool:
        """Attempts ended that were no canaries; returns whether it has opened by that."""
        if self.phase is not Phase.CLOSED:
            return False
        self._window.add(now, completed, failed)
        ended, failed = self._window.totals(now)
        if ended < self.rule.minimum or failed / ended < self.rule.share:
            return False
        self.ended, self.failed = ended, failed
        self._open(now, 1)
        return True

    def half_open(self) -> None:
        """Its wait is over: canaries may go."""
        if self.phase is Phase.OPEN:
            self._enter(Phase.HALF_OPEN)
            self.passed = 0

    def canary(self, now: float, *, completed: bool) -> bool:
        """A canary ended; returns whether the breaker has opened or closed by that."""
        if self.phase is not Phase.HALF_OPEN:
            return False
        if not completed:
            self._open(now, min(self.step + 1, MOST_STEPS))
            return True
        self.passed += 1
        if self.passed < self.rule.canaries:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Closed, with an empty window."""
        self._enter(Phase.CLOSED)
        self.step = self.passed = self.ended = self.failed = 0
        self._window = Window(self.rule.window_s)

    def _open(self, now: float, step: int) -> None:
        self._enter(Phase.OPEN)
        self.step, self.until = step, now + self.rule.wait_s(step)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.version += 1
