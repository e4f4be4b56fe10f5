"""How many jobs may wait: limits of types and of domains, and the signal that comes before them.

What waits is what the counts say (durable, plus the rounds under way) and what has been admitted and is not in a round yet. All of it is known when a submit
is admitted, and nothing awaits in between, so racing submitters cannot pass a limit together. Jobs that wait again after an attempt, are requeued, or made by a
schedule, are never refused: they may pass it.
"""

from collections import Counter
from typing import TYPE_CHECKING

from headrace_broker.model.errors import QueueFull
from headrace_broker.model.job import State
from headrace_broker.shards.domains import DomainEntry
from headrace_broker.shards.intents import NewJob, PlainJobs
from headrace_broker.shards.types import TypeEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace_broker.shards.owner import Owner

RETRY_S = 1.0
SOFT = 0.8  # share of a limit from which on submitters are told


class Depth:
    """One owner's. Written by submits and by the rounds that take them up."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self._reserved: Counter[TypeEntry] = Counter()

    def reserve(self, jobs: "list[NewJob] | PlainJobs") -> Counter[TypeEntry] | None:
        """Admits jobs; give the answer back with `release` when they are counted. None: there are no limits. Raises QueueFull, and none of them is admitted."""
        if not self._owner.types.depth_limited:
            return None
        wanted: Counter[TypeEntry] = Counter({jobs.entry: len(jobs)}) if isinstance(jobs, PlainJobs) else Counter([job[0] for job in jobs])
        for entry, count in wanted.items():
            limit = entry.settings.depth_limit
            if limit and (room := limit - self.waiting(entry)) < count:
                raise QueueFull(f"job type {entry.name}", limit, max(0, room), RETRY_S)
        for domain, count in _by_domain(wanted).items():
            limit = domain.depth_limit
            if limit and (room := limit - self.waiting_in(domain)) < count:
                raise QueueFull(f"domain {domain.name}", limit, max(0, room), RETRY_S)
        self._reserved.update(wanted)
        return wanted

    def require_room(self, entry: TypeEntry) -> None:
        """Raises QueueFull when not even one job of the type would be admitted."""
        limit, domain = entry.settings.depth_limit, entry.domain_entry
        if limit and self.waiting(entry) >= limit:
            raise QueueFull(f"job type {entry.name}", limit, 0, RETRY_S)
        if domain.depth_limit and self.waiting_in(domain) >= domain.depth_limit:
            raise QueueFull(f"domain {domain.name}", domain.depth_limit, 0, RETRY_S)

    def release(self, reserved: Counter[TypeEntry] | None) -> None:
        """The jobs are counted, or refused."""
        if reserved is not None:
            self._reserved.subtract(reserved)

    def waiting(self, entry: TypeEntry) -> int:
        """Jobs of a type that wait, whatever for, with those that were admitted a moment ago."""
        owner = self._owner
        return owner.counted[entry.type_id, State.WAITING, 0] + owner.decided(entry.type_id, State.WAITING) + self._reserved[entry]

    def waiting_in(self, domain: DomainEntry) -> int:
        """The same for a domain; in time that grows with its types."""
        return sum(self.waiting(entry) for entry in self._owner.types.by_id.values() if entry.domain_entry is domain)

    def pressure(self, entries: "Iterable[TypeEntry]") -> float:
        """How full the fullest of the limits is that jobs of these types meet, when it is at least SOFT full; else 0."""
        if not self._owner.types.depth_limited:
            return 0.0
        found, wanted = 0.0, set(entries)
        for entry in wanted:
            if entry.settings.depth_limit:
                found = max(found, self.waiting(entry) / entry.settings.depth_limit)
        for domain in {entry.domain_entry for entry in wanted}:
            if domain.depth_limit:
                found = max(found, self.waiting_in(domain) / domain.depth_limit)
        return found if found >= SOFT else 0.0


def _by_domain(wanted: Counter[TypeEntry]) -> Counter[DomainEntry]:
    found: Counter[DomainEntry] = Counter()
    for entry, count in wanted.items():
        found[entry.domain_entry] += count
    return found
