"""What the next hours will bring to some types together, and what other slots, arrivals or running times would make of it."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from headrace_broker.actions import statistics
from headrace_broker.actions.agents import stuck
from headrace_broker.model import erlang
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.forecast import Expected, backlogs, forecast
from headrace_broker.model.job import State
from headrace_broker.model.outlook import Change, Demand, Outlook, outlook, untold
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.session import Session
from headrace_broker.store.statistics import DAY, HOUR, MINUTE, HourRow, Statistics

HISTORY_H = 4 * 168
MOST_HOURS = 168
MOST_SLOTS = 1_000_000
AS_IT_IS = Change()
LEAST_FACTOR, MOST_FACTOR = 0.001, 1000.0


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of a forecast; the first is what remains of the present one. `waiting`: at its end, if slots and running times stay. None: cannot be told.

    `slots_needed`: the fewest whose mean wait is as wished; None too when nothing that ran tells how long work takes.
    """

    at: int
    arrivals: Expected
    waiting: Expected | None
    slots_needed: int | None
    slots_low: int | None
    slots_high: int | None
    agents_needed: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """`method` and `history_h`: what the hours come from. `present`: what is; `changed`: what would be, on which the hours rest too."""

    method: str
    history_h: int
    agents: int
    present: Outlook
    changed: Outlook
    hours: list[Hour]


async def look_ahead(
    store: Statistics, owner: Owner, domain: str, *, types: Sequence[str] = (), hours: int = 24, minutes: int = 15, wished_wait_s: float = 10.0, change: Change = AS_IT_IS
) -> Found:
    """A forecast of the types as one queue, with the slots of all agents that serve any of them. Demand at present is that of the last `minutes` whole minutes.

    Raises:
        InvalidField: a number makes no sense. TypeNotFound, DatabaseUnavailable.
    """
    _check(hours, minutes, wished_wait_s, change)
    names = statistics.type_names(owner, domain, types)
    now_s = owner.clock.now_s()
    this_hour = int(now_s // 3600) * HOUR
    rows = await _history(store, list(names), this_hour)
    begin, asked = _whole_hours(rows, this_hour)
    period = await _present(store, names, int(now_s // 60), minutes)
    wanted = set(names.values())
    counts = {name: by_state for name, by_state in owner.counts(domain).items() if name in wanted}
    waiting = sum(by_state.get(State.WAITING, 0) for by_state in counts.values())
    recent = rows[-24:]
    work_s = period.work_s
    if work_s is None and any(row.ended for row in recent):
        work_s = sum(row.run_s for row in recent) / sum(row.ended for row in recent)
    serving = [found for session in owner.sessions() if session.stream is not None and (found := _slots(owner, session, names, minutes * 60))[0]]
    by_agent = [slots for slots, _ in serving]
    held = untold(sum(long for _, long in serving), period.arrivals_per_s * (work_s or 0.0), work_s, minutes * 60)
    present = Demand(waiting, period.arrivals_per_s, work_s, sum(by_agent), held, stuck(owner, domain, counts) if by_agent else 0)
    changed = present.changed(change)
    expected = forecast(asked, hours)
    per_agent = sum(by_agent) / len(by_agent) if by_agent else None
    return Found(
        expected.method, (this_hour - begin) // HOUR, len(by_agent), outlook(present, wished_wait_s), outlook(changed, wished_wait_s),
        _hours(expected.hours, change.arrivals_factor, changed, now_s, wished_wait_s, per_agent),
    )  # fmt: skip


def _slots(owner: Owner, session: Session, names: Collection[int], window_s: float) -> tuple[int, int]:
    """(slots of an agent for these types together, how many of them attempts hold that have run for longer than the window). Attempts at other types hold them too."""
    own = sum(served.slots or session.slots for type_id, served in session.served.items() if type_id in names)
    slots, long = min(own, session.slots), statistics.running_longer(owner, session, window_s)
    left = min(slots - sum(long[type_id] for type_id in names), session.slots - long.total())
    return slots, slots - max(0, left)


def _check(hours: int, minutes: int, wished_wait_s: float, change: Change) -> None:
    if not 1 <= hours <= MOST_HOURS:
        raise InvalidField("hours", f"1 to {MOST_HOURS}, found {hours}")
    if not 1 <= minutes <= DAY:
        raise InvalidField("window", f"1 to {DAY} minutes, found {minutes}")
    if not 0.001 <= wished_wait_s <= 86_400:
        raise InvalidField("wished_wait", "a millisecond to a day")
    if not -MOST_SLOTS <= change.more_slots <= MOST_SLOTS:
        raise InvalidField("more_slots", f"at most {MOST_SLOTS:,} more or fewer, found {change.more_slots}")
    for name, factor in (("arrivals_factor", change.arrivals_factor), ("work_factor", change.work_factor)):
        if not LEAST_FACTOR <= factor <= MOST_FACTOR:
            raise InvalidField(name, f"{LEAST_FACTOR:g} to {MOST_FACTOR:g}, found {factor:g}")


@dataclass(frozen=True, slots=True)
class _Period:
    """Demand of the last minutes."""

    arrivals_per_s: float
    work_s: float | None


async def _history(store: Statistics, type_ids: list[int], this_hour: int) -> list[HourRow]:
    """Hours before the present one in which something was counted, oldest first; minutes that are not added up into hours yet are."""
    found: list[HourRow] = []
    for span, begin, end in await statistics.parts(store, HOUR, this_hour - HISTORY_H * HOUR, this_hour):
        rows, since = await statistics.read(store.demand(span, begin, end, type_ids))
        found = ([] if since is not None else found) + rows
    return found


def _whole_hours(rows: Sequence[HourRow], this_hour: int) -> tuple[int, list[float]]:
    """(first minute; attempts asked for in each hour from there on). The first hour that was counted was not whole, where nothing lies before it."""
    if not rows:
        return this_hour, []
    begin = rows[0].at if rows[0].at <= this_hour - HISTORY_H * HOUR else rows[0].at + HOUR
    by_hour = {row.at: float(row.asked) for row in rows}
    return begin, [by_hour.get(at, 0.0) for at in range(begin, this_hour, HOUR)]


async def _present(store: Statistics, names: Collection[int], to_minute: int, minutes: int) -> _Period:
    rows, _ = await statistics.read(store.demand(MINUTE, to_minute - minutes, to_minute, list(names)))
    ended = sum(row.ended for row in rows)
    return _Period(sum(row.asked for row in rows) / (minutes * 60), sum(row.run_s for row in rows) / ended if ended else None)


def _hours(expected: Sequence[Expected], factor: float, demand: Demand, now_s: float, wished_wait_s: float, per_agent: float | None) -> list[Hour]:
    this_hour = int(now_s // 3600)
    seconds = [3600.0] * len(expected)
    if seconds:
        seconds[0] = (this_hour + 1) * 3600 - now_s
    per_s = [
        Expected(*(None if value is None else value * factor / 3600 for value in (one.mean, one.low, one.high)))  # type: ignore[arg-type]  # a mean is never None
        for one in expected
    ]
    waiting = _waiting(per_s, seconds, demand)
    needed: dict[float, int] = {}

    def slots(arrivals_per_s: float | None) -> int | None:
        if arrivals_per_s is None or demand.work_s is None:
            return None
        if arrivals_per_s not in needed:
            own = erlang.servers_needed(arrivals_per_s * demand.work_s, demand.work_s, wished_wait_s) if arrivals_per_s else 0
            needed[arrivals_per_s] = demand.held + own
        return needed[arrivals_per_s]

    found = []
    for number, one in enumerate(per_s):
        wanted = slots(one.mean)
        agents = None if wanted is None or per_agent is None else math.ceil(wanted / per_agent)
        found.append(Hour((this_hour + number) * HOUR, one, waiting[number], wanted, slots(one.low), slots(one.high), agents))
    return found


def _waiting(per_s: Sequence[Expected], seconds: Sequence[float], demand: Demand) -> list[Expected | None]:
    """At the end of each hour; the band takes every hour at its edge."""
    if demand.work_s is None and demand.free:
        return [None] * len(per_s)
    served = demand.free / demand.work_s if demand.work_s else 0.0
    mean, low, high = (
        backlogs(demand.waiting - demand.stuck, [one.mean if value is None else value for one, value in zip(per_s, values, strict=True)], seconds, served)
        for values in ([one.mean for one in per_s], [one.low for one in per_s], [one.high for one in per_s])
    )
    told = [one.low is not None for one in per_s]
    return [Expected(demand.stuck + mean[n], demand.stuck + low[n] if told[n] else None, demand.stuck + high[n] if told[n] else None) for n in range(len(per_s))]
