"""Gives back the space of jobs past their delete date, and of flush rows that no count needs.

A job past its date is hidden at once, whatever happens here. A range of ids is looked at when its class says that most of its jobs are due, and retired when enough of
them are gone and what stays is small enough to be put back within a fraction of a second. A range that is empty for good is dropped.

If the broker dies in a pass: retiring is one transaction, and dropping goes on where it stopped. If ownership is lost in a pass: it removes only what is gone for every
owner alike, so two brokers at it do no harm.
"""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from headrace_broker.metrics import Metrics
from headrace_broker.model.ids import EPOCH_S, MS_SHIFT, RETENTION_CLASSES, RetentionClass, created_at_s, lowest_id_at
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.retire import LockBusy, Retirement

MARGIN_S = 600.0
"""A job is removed this long after its date, so that no change of it that was decided before its date can still be on its way. How long a decision may wait for its
commit does not depend on how long jobs are kept, so this is the same for all classes: jobs of the shortest take space three times as long as they are shown."""
KEYS_KEPT_S = 86_400.0
"""An idempotency key is kept as long as its job and at least this long."""
MOST_KEPT = 100_000
"""Jobs that may have to be put back: about a second under the lock, in which nobody else looks at them."""
MOST_BESIDE_LIVE = 10_000
"""The same when jobs are among them that live: a flush may have to wait for the lock, a tenth of a second."""
WORTH = 0.2
"""Share of a range that must be gone before it is rewritten."""
BUSY_S = (30.0, 3600.0)
"""A range that somebody reads or writes is looked at again after this time, at first and at most; twice as long each time. A backup may read it for hours, and to look
through it costs more than the wait."""
LOUD = 5
"""So often in a row, after about a quarter of an hour, it is said as a warning."""
AGAIN_S = 6 * 3600.0
"""When to look again at a range that was not worth it, or where jobs stay; sooner where jobs are kept shorter than that."""

log = structlog.get_logger("headrace.retention")


@dataclass
class Retention:
    """`ranges` lists the ranges there are; `now` is the database's clock in seconds since 1970."""

    store: Retirement
    ranges: Callable[[], Awaitable[list[FactRange]]]
    now: Callable[[], float]
    metrics: Metrics
    _next: dict[FactRange, float] = field(default_factory=dict)
    _busy: dict[FactRange, int] = field(default_factory=dict)  # how often in a row somebody was at it

    async def run_once(self) -> dict[str, int]:
        """One pass over all ranges; returns what was done: jobs removed, ranges dropped, flush slots emptied."""
        done = {"jobs": 0, "dropped": 0, "flush_slots": 0}
        now = self.now()
        for range_ in sorted(await self.ranges(), key=lambda r: r.lo):
            if now < self._next.get(range_, due_from(range_)):
                continue
            try:
                gone, dropped = await self._retire(range_, now)
            except LockBusy as error:
                self._put_off(range_, now, error)
                continue
            self._busy.pop(range_, None)
            done["jobs"] += gone
            done["dropped"] += dropped
        with contextlib.suppress(LockBusy):
            done["flush_slots"] = await self.store.trim_flushes()
        self.metrics.jobs_deleted.inc(done["jobs"])
        return done if any(done.values()) else {}

    async def _retire(self, range_: FactRange, now: float) -> tuple[int, bool]:
        """(how many jobs were removed, whether the range was dropped)."""
        bounds = {"due_minute": int((now - MARGIN_S) // 60), "keyed_from": lowest_id_at(now - KEYS_KEPT_S)}
        found = await self.store.look(range_, most_kept=MOST_KEPT, **bounds)
        if not found.kept:
            await self.store.retire(range_, found)
            await self.store.drop(range_)
            self._next.pop(range_, None)
            return found.gone, True
        most = MOST_BESIDE_LIVE if found.live else MOST_KEPT
        worth_it = len(found.kept) <= most and found.gone >= WORTH * (found.gone + len(found.kept))
        if worth_it and found.gone:
            await self.store.retire(range_, found)
        self._next[range_] = now + min(AGAIN_S, _class(range_).keep_s + _class(range_).range_s)
        return found.gone if worth_it else 0, False

    def _put_off(self, range_: FactRange, now: float, error: LockBusy) -> None:
        tries = self._busy[range_] = self._busy.get(range_, 0) + 1
        first_s, longest_s = BUSY_S
        wait_s = min(longest_s, first_s * 2.0 ** min(tries - 1, 30))
        self._next[range_] = now + wait_s
        say = log.warning if tries >= LOUD else log.info
        made = datetime.fromtimestamp(created_at_s(range_.lo), UTC).isoformat(timespec="minutes")
        say("the space of jobs is not given back yet: somebody reads or writes there", made_from=made, tries=tries, again_in_s=wait_s, reason=str(error))


def due_from(range_: FactRange) -> float:
    """When most jobs of a range are due, in seconds since 1970: after its last id was made, and then as long as its class keeps jobs."""
    end_s = (range_.hi >> MS_SHIFT) / 1000 + EPOCH_S
    return end_s + MARGIN_S + min(_class(range_).keep_s, 400 * 86_400.0)


def _class(range_: FactRange) -> RetentionClass:
    return next(c for c in RETENTION_CLASSES if c.number == range_.class_)
