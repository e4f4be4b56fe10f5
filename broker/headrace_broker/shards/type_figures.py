"""What there is to tell of each job type at this moment, from the owner's memory: the numbers that the statistics add up, and what waits and runs now."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import State
from headrace_broker.shards.lanes import Lanes
from headrace_broker.shards.tally import Line

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

OTHER = "_other"
"""Domain and type under which those are told that are too many to be told by name."""


@dataclass(slots=True)
class TypeFigures:
    """One job type. `counted`: since this owner began; `oldest_s`: how long the job has been ready that has been so longest, in seconds, 0: none is."""

    domain: str
    type: str
    counted: Line = field(default_factory=Line)
    waiting: int = 0
    processing: int = 0
    oldest_s: float = 0.0
    breakers: Counter[str] = field(default_factory=Counter)  # by phase: one where the type has a breaker
    openings: int = 0


def type_figures(owners: "Sequence[Owner]", most: int) -> list[TypeFigures]:
    """By type, of the shards of these owners, the types that are there longest first: `most` of them by name, so that none changes its name, and the others together."""
    found: dict[int, TypeFigures] = {}
    listed: list[TypeFigures] = []
    other = TypeFigures(OTHER, OTHER)
    for type_id, entry in sorted(owners[0].types.by_id.items()) if owners else ():
        if not any(owner.shard.holds(entry.domain_id) for owner in owners):
            continue
        if len(listed) < most and entry.name != OTHER:
            found[type_id] = TypeFigures(entry.domain, entry.name)
            listed.append(found[type_id])
        else:
            found[type_id] = other
    for owner in owners:
        _add(owner, found, other)
    return [*listed, other] if len(found) > len(listed) else listed


def _add(owner: "Owner", found: Mapping[int, TypeFigures], other: TypeFigures) -> None:
    """What one owner knows."""
    for type_id, line in owner.tally.totals().items():
        found.get(type_id, other).counted.add(line)
    for type_id, count in owner.counted.unsettled(State.WAITING).items():
        found.get(type_id, other).waiting += count
    for type_id, count in owner.counted.unsettled(State.PROCESSING).items():
        found.get(type_id, other).processing += count
    for guard in owner.breakers.guards():
        figures = found.get(guard.entry.type_id, other)
        figures.breakers[guard.machine.phase.value] += 1
    for type_id, count in owner.breakers.openings.items():
        found.get(type_id, other).openings += count
    now_s = owner.clock.now_s()
    ready = [*_oldest(owner.lanes), *((owner.lines._by_id[line_id].entry.type_id, since) for line_id, since in _oldest(owner.lines.lanes))]
    for type_id, since in ready:
        figures = found.get(type_id, other)
        figures.oldest_s = max(figures.oldest_s, now_s - created_at_s(since))


def _oldest(lanes: Lanes) -> Iterator[tuple[int, int]]:
    """(type or line, since when the job has been ready, as an id, that is first in a lane of it). Entries that may be stale are passed over."""
    for type_id, by_priority in lanes._by_type.items():
        for lane in by_priority.values():
            since = lanes.oldest_in(lane)
            if since is not None:
                yield type_id, since
