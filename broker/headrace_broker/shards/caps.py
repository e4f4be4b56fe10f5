"""How many more jobs of a type may be granted now: its concurrency over all agents, its rate, and its breaker.

What runs is what the counts say: those that are durable plus those of the rounds under way and of the one that is being built, which are exact at every moment and
cost nothing more. An ending and the grant that takes its place may share a commit. A lease that the broker ended, or that its agent was lost with, may go on at the
agent until its time is over: it is owed, and counts until then, for its type and for its limit key.

Rates are token buckets on the owner's monotonic clock. They begin empty, also after a takeover: what the one before granted last is not known.
"""

import heapq
import math
from collections import Counter
from typing import TYPE_CHECKING

from headrace_broker.model.job import State
from headrace_broker.shards.lines import Cell
from headrace_broker.shards.live import Live
from headrace_broker.shards.types import TypeEntry

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner
    from headrace_broker.shards.round import Round

LOOK_S = 0.005  # a rate is looked at again after so long, at the soonest: tokens of a fast one come in handfuls


class Bucket:
    """Tokens of one type's rate; `at`: when they were counted."""

    __slots__ = ("at", "tokens")

    def __init__(self, now: float) -> None:
        self.tokens = 0.0
        self.at = now


class Caps:
    """Written by the owner's decisions. `due`: when a grant may be possible that was not, monotonic; infinite: nothing is known."""

    def __init__(self) -> None:
        self.owed: Counter[int] = Counter()  # by type id
        self.rate_due = math.inf
        self._debts: list[tuple[float, int, TypeEntry, Cell | None, int]] = []  # heap of (until, number, type, limit key's cell, how many)
        self._number = 0
        self._buckets: dict[int, Bucket] = {}

    @property
    def due(self) -> float:
        """See the class."""
        return min(self.rate_due, self._debts[0][0] if self._debts else math.inf)

    def owe(self, owner: "Owner", live: Live, until: float, now: float) -> None:
        """The lease of a job that is about to be ended may go on at its agent until then."""
        if until > now:
            cell = live.line.cell if live.line is not None else None
            self.owe_all(owner, live.entry, cell, 1, until)

    def owe_all(self, owner: "Owner", entry: TypeEntry, cell: Cell | None, count: int, until: float) -> None:
        """The same for several leases of one type and limit key."""
        self._number += 1
        self.owed[entry.type_id] += count
        if cell is not None:
            cell.running += count
        heapq.heappush(self._debts, (until, self._number, entry, cell, count))

    def settle(self, owner: "Owner", now: float) -> None:
        """What has surely ended counts no more."""
        self.rate_due = math.inf
        while self._debts and self._debts[0][0] <= now:
            _, _, entry, cell, count = heapq.heappop(self._debts)
            self.owed[entry.type_id] -= count
            if not self.owed[entry.type_id]:
                del self.owed[entry.type_id]
            if cell is not None:
                for _ in range(count):
                    owner.lines.let_go(entry, cell)

    def running(self, owner: "Owner", entry: TypeEntry, round_: "Round | None" = None) -> int:
        """Leases of a type, with those of the rounds under way, of the one that is being built, and those that are owed."""
        key = (entry.type_id, State.PROCESSING, 0)
        decided = round_.batch.counts[key] if round_ is not None else 0
        return owner.counted[key] + owner.decided(entry.type_id, State.PROCESSING) + decided + self.owed[entry.type_id]

    def room(self, owner: "Owner", entry: TypeEntry, round_: "Round", now: float) -> int:
        """How many jobs of a type with limits may be granted in this round; not more than 0: none."""
        settings = entry.settings
        room = settings.concurrency - self.running(owner, entry, round_) if settings.concurrency else 1 << 30
        if entry.breaker is not None:
            room = min(room, entry.breaker.room)
        if room > 0 and settings.rate_limit_count:
            tokens = self.tokens(entry, now)
            room = min(room, int(tokens))
            if room <= 0:
                self.rate_due = min(self.rate_due, now + max(LOOK_S, (1.0 - tokens) / settings.rate_per_s))
        return room

    def spend(self, entry: TypeEntry, count: int) -> None:
        """Jobs of a type with limits were granted. Where none of these is a rate they take no tokens: one that is set anew begins with an empty bucket."""
        bucket = self._buckets.get(entry.type_id)
        if bucket is not None and not entry.settings.rate_limit_count:
            del self._buckets[entry.type_id]
        elif bucket is not None:
            bucket.tokens -= count

    def tokens(self, entry: TypeEntry, now: float) -> float:
        """Grants that the rate of a type allows now, as of the settings in force."""
        bucket = self._buckets.get(entry.type_id)
        if bucket is None:
            bucket = self._buckets[entry.type_id] = Bucket(now)
        settings = entry.settings
        bucket.tokens = min(settings.burst, bucket.tokens + (now - bucket.at) * settings.rate_per_s)
        bucket.at = now
        return bucket.tokens
