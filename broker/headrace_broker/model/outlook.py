"""What slots make of a demand, and what other slots would make of another one: the queue M/M/c (see `erlang`)."""

import math
from dataclasses import dataclass

from headrace_broker.model import erlang

LEAST_WORK_S = 1e-6


@dataclass(frozen=True, slots=True)
class Change:
    """What if: so many slots more (or fewer), arrivals and running times times a factor."""

    more_slots: int = 0
    arrivals_factor: float = 1.0
    work_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What waits, what is asked for per second, how long an attempt takes (None: not known), and the slots there are.

    `held`: slots that attempts hold which run for so long that no attempt that ended tells of them (`untold`); taken to go on. `stuck`: how many of those that wait
    do so for an agent that serves their type, or for somebody who resumes it: no slot there is takes them.
    """

    waiting: int
    arrivals_per_s: float
    work_s: float | None
    slots: int
    held: int = 0
    stuck: int = 0

    @property
    def free(self) -> int:
        """Slots for all other work."""
        return max(0, self.slots - self.held)

    def changed(self, change: Change) -> "Demand":
        """The same under other circumstances; there are no fewer slots than none."""
        work_s = None if self.work_s is None else self.work_s * change.work_factor
        return Demand(self.waiting, self.arrivals_per_s * change.arrivals_factor, work_s, max(0, self.slots + change.more_slots), self.held, self.stuck)


def untold(long: int, load: float, work_s: float | None, window_s: float) -> int:
    """How many of `long` attempts, which have run for longer than a window, nothing tells of that ended within it.

    Of a load of so many erlangs, whose running times are exponential as in all of this, exp(-window/work) at any moment have run for longer: those are told of.
    """
    told = load * math.exp(-window_s / work_s) if work_s else 0.0
    return max(0, round(long - told))


@dataclass(frozen=True, slots=True)
class Outlook:
    """What becomes of a demand that stays as it is. None: cannot be told, or never.

    `load`: slots that are held, and those that what comes keeps busy; `utilisation`: that by slots; above 1 the queue grows, by `grows_per_s`, and at 1 it never ends.
    `drain_s`: until what waits now, and is not stuck, is gone. `mean_wait_s` and `wait_probability` (the share that waits at all) are of what comes after that.
    """

    demand: Demand
    load: float | None
    utilisation: float | None
    wait_probability: float | None
    mean_wait_s: float | None
    grows_per_s: float
    drain_s: float | None
    slots_needed: int | None


def outlook(demand: Demand, wished_wait_s: float) -> Outlook:
    """What becomes of it."""
    free, held, waiting = demand.free, demand.held, demand.waiting - demand.stuck
    if demand.work_s is None:
        grows = demand.arrivals_per_s if not free else 0.0
        load, used = (float(held), held / demand.slots) if held and demand.slots else (None, None)
        return Outlook(demand, load, used, None, None, grows, 0.0 if not demand.waiting and not grows else None, None)
    work_s = max(LEAST_WORK_S, demand.work_s)
    load = demand.arrivals_per_s * work_s
    spare_per_s = free / work_s - demand.arrivals_per_s
    steady = spare_per_s > 0
    return Outlook(
        demand, held + load, (held + load) / demand.slots if demand.slots else None,
        erlang.wait_probability(free, load) if demand.slots else None,
        erlang.mean_wait_s(free, load, work_s) if free else None,
        max(0.0, -spare_per_s), waiting / spare_per_s if steady and (waiting or not demand.stuck) else 0.0 if not demand.waiting and not demand.arrivals_per_s else None,
        held + erlang.servers_needed(load, work_s, wished_wait_s),
    )  # fmt: skip


def words(found: Outlook) -> str:
    """The same in a sentence or two."""
    demand = found.demand
    taken = f" {demand.held:,} of the {demand.slots:,} slots are held by attempts that have run for longer than what was looked at." if demand.held else ""
    if demand.stuck and demand.slots:
        taken += f" Beside that {demand.stuck:,} wait of types that no agent serves, or that are paused."
    if demand.work_s is None:
        return "No attempt has ended, so running times are not known." + (taken if demand.slots else " No agent is connected that could run one.")
    if not demand.slots:
        return f"There are no slots: the queue grows by {rate(found.grows_per_s)}." if demand.arrivals_per_s else "There are no slots, and nothing comes."
    if found.utilisation is not None and found.utilisation >= 1 and (demand.free or demand.arrivals_per_s):
        return f"Overloaded: {found.utilisation:.0%} of the slots' time is asked for, and the queue grows by {rate(found.grows_per_s)}. {needs(found)}{taken}"
    said = f"The slots are used to {found.utilisation or 0:.0%}; a job waits {span(found.mean_wait_s or 0)} on average." if demand.arrivals_per_s else "Nothing comes."
    backlog = demand.waiting - demand.stuck
    if backlog and found.drain_s is not None:
        said += f" The backlog of {backlog:,} is gone in {span(found.drain_s)}."
    return said + taken


def needs(found: Outlook) -> str:
    """How many slots it takes."""
    return "" if found.slots_needed is None else f"It takes {found.slots_needed:,} slots; there are {found.demand.slots:,}."


def rate(per_s: float) -> str:
    """Jobs per minute, in words."""
    per_minute = per_s * 60
    return f"{per_minute:,.0f}/min" if per_minute >= 10 else f"{per_minute:.2g}/min"


def span(seconds: float) -> str:
    """A duration in a unit that suits it."""
    for limit, unit, name in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h"), (math.inf, 86_400, "d")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return "for ever"
