"""How much work there is for agents of some job types, for whoever decides how many agents there are. All of it is from the owner's memory: no job is looked at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace_broker.actions import reach, reachable
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act, matches
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.types import TypeEntry


@dataclass(frozen=True, slots=True)
class Demand:
    """Jobs. `ready`: wait, and may start now; `running`: under a lease."""

    ready: int
    running: int


def demand(owner: Owner, domain: str, patterns: Sequence[str], field: str) -> Demand:
    """Of the job types that one of the patterns matches; a type that there is not yet has no jobs. `field`: where the request names them.

    Not ready are jobs that wait for their time, for other jobs or for somebody to release them, those of paused types, and as many of a type as its concurrency, or its
    breaker, does not let run. Jobs that were ready, and then aborted, held or put off, may still be among those that are, until an agent comes by them; never more than
    wait at all.

    Raises:
        TypeDenied: a type that is named whole is not one that the call may see. A pattern stands for those that it may.
    """
    ready = running = 0
    for entry in _entries(owner, domain, patterns, field):
        leased = owner.caps.running(owner, entry)
        ready += _ready(owner, entry, leased)
        running += leased
    return Demand(ready, running)


def _entries(owner: Owner, domain: str, patterns: Sequence[str], field: str) -> Iterable[TypeEntry]:
    names = [pattern for pattern in patterns if not set("*?") & set(pattern)]
    for name in names:
        reach.require(Act.OVERSEE, name, field)
    if len(names) == len(patterns):  # nobody goes through all types for them
        return [entry for name in dict.fromkeys(names) if (entry := owner.types.find(domain, name)) is not None]
    return [entry for entry in reachable.entries(owner, domain, Act.OVERSEE) if any(matches(pattern, entry.name) for pattern in patterns)]


def _ready(owner: Owner, entry: TypeEntry, leased: int) -> int:
    if entry.halted:
        return 0
    crowd = owner.lines.crowds.get(entry.type_id)
    ready = owner.lanes.ready(entry.type_id) + (owner.lines.ready(crowd) if crowd is not None else 0)
    if entry.breaker is not None:
        ready = min(ready, max(0, entry.breaker.room))
    limit = entry.settings.concurrency
    return min(ready, owner.counted[entry.type_id, State.WAITING, 0], max(0, limit - leased) if limit else ready)
