"""Trend and capacity, from the stored statistics: the same numbers for RPCs, command line, pages and files."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from headrace_broker.actions import reach, reachable
from headrace_broker.model import erlang, histogram
from headrace_broker.model.errors import DatabaseUnavailable, InvalidField, TypeNotFound
from headrace_broker.model.outlook import untold
from headrace_broker.model.permissions import Act
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.session import Session
from headrace_broker.shards.tally import NUMBERS as NUMBERS
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.statistics import DAY, HOUR, KEPT_MINUTES, MINUTE, MOST_ROWS, MOST_SUMMED, Statistics, StatRow

T = TypeVar("T")
WEEK = 7 * DAY
MOST_POINTS = 1_500
STEPS = (1, 5, 15, 60, 360, 1440, 10_080)
"""Minutes that one point may cover."""
WANTED_POINTS = 180
MOST_SUMS = 20_000
"""Points of agents that one answer holds."""
FAILURES = ("failed", "timed_out", "lost")
LAST_MINUTE = 2**31 - 1 - WEEK
"""Since 1970; the database holds no later one."""
MARGIN = 5
"""Minutes that a period may begin before what is kept: who asks for all of it has another clock, and cuts it otherwise."""


@dataclass(slots=True)
class Point:
    """What happened in `step` minutes from minute `at` on (since 1970)."""

    at: int
    step: int
    numbers: Counter[str] = field(default_factory=Counter)
    wait: histogram.Counts = field(default_factory=dict)
    run: histogram.Counts = field(default_factory=dict)
    wait_s: float = 0.0
    run_s: float = 0.0
    slot_minutes: int = 0
    waiting: int = 0
    """The most that waited at once, of each type, added up."""

    def add(self, row: StatRow, minutes: int) -> None:
        """Adds a row that is about so many minutes."""
        self.numbers.update(row.numbers)
        histogram.add(self.wait, row.wait)
        histogram.add(self.run, row.run)
        self.wait_s += row.wait_s
        self.run_s += row.run_s
        self.slot_minutes += row.slots * minutes

    def part(self, at: int, step: int) -> "Point":
        """What lies in `step` minutes of it from minute `at` on, if all of it went evenly. Parts that follow each other add up to the whole."""
        first, last = at - self.at, at - self.at + step

        def share(count: int) -> int:
            return count * last // self.step - count * first // self.step

        return Point(
            at, step, Counter({name: share(count) for name, count in self.numbers.items()}), _shares(self.wait, share), _shares(self.run, share),
            self.wait_s * step / self.step, self.run_s * step / self.step, share(self.slot_minutes), self.waiting,
        )  # fmt: skip

    @property
    def failures(self) -> int:
        """Attempts that failed, timed out or were lost."""
        return sum(self.numbers[name] for name in FAILURES)

    @property
    def error_rate(self) -> float | None:
        """Share of the ended attempts that failed; None: none ended."""
        ended = self.numbers["completed"] + self.failures
        return self.failures / ended if ended else None

    @property
    def utilisation(self) -> float | None:
        """Share of the slots' time that attempts took; None: there were no slots."""
        return min(1.0, self.run_s / (self.slot_minutes * 60)) if self.slot_minutes else None


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one type or agent, or of everything (`name` empty), oldest first; none is left out."""

    name: str
    points: list[Point]

    def total(self) -> Point:
        """All points as one."""
        whole = Point(self.points[0].at, sum(p.step for p in self.points)) if self.points else Point(0, 0)
        for point in self.points:
            whole.numbers.update(point.numbers)
            histogram.add(whole.wait, point.wait)
            histogram.add(whole.run, point.run)
            whole.wait_s += point.wait_s
            whole.run_s += point.run_s
            whole.slot_minutes += point.slot_minutes
            whole.waiting = max(whole.waiting, point.waiting)
        return whole


@dataclass(frozen=True, slots=True)
class Trend:
    """`before`: the same a week earlier, of everything; where short points are not kept for so long, equal parts of longer ones. `since`: the minute from which on
    everything is in it; None: all of the period is."""

    step: int
    series: list[Series]
    before: list[Series]
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """One type's demand and what serves it. Rates are per second; None: cannot be told, or never. `utilisation` and all that follows from slots count those, too, that
    attempts hold which have run for longer than the period."""

    type: str
    waiting: int
    processing: int
    slots: int
    agents: int
    arrivals_per_s: float
    work_s: float | None
    load: float | None
    utilisation: float | None
    drain_s: float | None
    wait_s: float | None
    slots_needed: int | None
    agents_needed: int | None


async def trend(
    store: Statistics, owner: Owner, domain: str, *, types: Sequence[str] = (), from_minute: int, to_minute: int, step: int = 0, by: str = "", partly: bool = False,
) -> Trend:  # fmt: skip
    """Points from `from_minute` on, before `to_minute`; `by` "", "type" or "agent". `step` 0: as long as gives about 180 points, and is kept for long enough; an hour or
    a day where there are too many rows for less. `partly`: by agent, the newest part will do where there is too much even so; `since` says where it begins.

    Raises:
        InvalidField: the period or step makes no sense, or so short a step is not kept for so long, or there is more than MOST_ROWS, by agent MOST_SUMMED, rows can
            tell. TypeNotFound, DatabaseUnavailable.
    """
    chosen = bool(step)
    if by not in ("", "type", "agent"):
        raise InvalidField("by", f"'', 'type' or 'agent', found {by!r}")
    length = to_minute - from_minute
    if length <= 0:
        raise InvalidField("to", "must be after from, by a minute at least")
    if to_minute > LAST_MINUTE:
        raise InvalidField("to", "too far in the future")
    kept = _kept_span(owner, from_minute)
    if not step:
        step = max(kept, next((s for s in STEPS if length <= s * WANTED_POINTS), STEPS[-1]))
    if step not in STEPS:
        raise InvalidField("step", f"one of {', '.join(map(str, STEPS))} minutes, found {step}")
    if length > step * MOST_POINTS:
        raise InvalidField("step", f"at most {MOST_POINTS} points: take a longer step or a shorter period")
    if step < kept:
        raise InvalidField("step", f"so short points are not kept for so long: take {kept} minutes or more, or a later period")
    names = type_names(owner, domain, types)
    steps = [step] if chosen else [step, *(other for other in (HOUR, DAY) if step < other <= length)]
    for step_ in steps:
        step = step_
        begin, end = from_minute // step * step, math.ceil(to_minute / step) * step
        try:
            now, since = await _of_agents(store, names, begin, end, step) if by == "agent" else (await _series(store, names, begin, end, step, by), None)
            before = await _before(store, owner, names, begin - WEEK, end - WEEK, step)
        except InvalidField:  # there are too many rows
            if step == steps[-1]:
                raise
        else:
            if since is None:
                break
    if since is not None and not partly:
        raise _too_many(MOST_SUMMED)
    return Trend(step, now, [before], since)


async def lately(store: Statistics, owner: Owner, domain: str, minutes: int, *, types: Sequence[str] = ()) -> dict[str, Point]:
    """What happened in the last few minutes, the present one is one of them, by type; types of which nothing is known are left out. Raises as `trend`."""
    names, to_minute = type_names(owner, domain, types), int(owner.clock.now_s() // 60) + 1
    found: dict[str, Point] = {}
    for row in await _rows(store, MINUTE, to_minute - minutes, to_minute, list(names)):
        point = found.setdefault(names[row.type_id], Point(to_minute - minutes, minutes))
        point.add(row, MINUTE)
        point.waiting = max(point.waiting, row.waiting)
    return found


async def capacity(store: Statistics, owner: Owner, domain: str, *, types: Sequence[str] = (), minutes: int = 15, wished_wait_s: float = 10.0) -> list[Capacity]:
    """Demand and capacity by type, from the last `minutes` whole minutes. Raises as `trend`.

    Slots count for every type that their agent serves, so types that share agents share them: read such types together.
    """
    if not 1 <= minutes <= DAY:
        raise InvalidField("minutes", f"1 to {DAY}, found {minutes}")
    if not 0.001 <= wished_wait_s <= 86_400:
        raise InvalidField("wished_wait", "a millisecond to a day")
    names = type_names(owner, domain, types)
    to_minute = int(owner.clock.now_s() // 60)
    rows = await _rows(store, MINUTE, to_minute - minutes, to_minute, list(names))
    counts = owner.counts(domain)
    periods = {type_id: Point(to_minute - minutes, minutes) for type_id in names}
    for row in rows:
        periods[row.type_id].add(row, MINUTE)
    slots: dict[int, list[int]] = {type_id: [] for type_id in names}
    long: Counter[int] = Counter()
    for session in owner.sessions():
        if session.stream is None:
            continue
        long.update(running_longer(owner, session, minutes * 60))
        for type_id, served in session.served.items():
            if type_id in slots:
                slots[type_id].append(min(served.slots or session.slots, session.slots))
    found = []
    for type_id, name in sorted(names.items(), key=lambda item: item[1]):
        by_state = {int(state): count for state, count in counts.get(name, {}).items()}
        found.append(_capacity(name, periods[type_id], by_state.get(1, 0), by_state.get(2, 0), slots[type_id], long[type_id], wished_wait_s))
    return found


def running_longer(owner: Owner, session: Session, window_s: float) -> Counter[int]:
    """Attempts at an agent, by type, that have run for longer than the window. One that was granted by an owner before this one runs since then, at least."""
    begun = owner.now() - window_s
    return Counter(live.entry.type_id for live in session.leases.values() if (live.granted_at or owner.taken_over_at) < begun)


def _capacity(name: str, period: Point, waiting: int, processing: int, slots_by_agent: list[int], long: int, wished_wait_s: float) -> Capacity:
    seconds = period.step * 60
    retried = max(0, period.failures - period.numbers["error"] - period.numbers["aborted"])
    arrivals = (period.numbers["submitted"] + period.numbers["requeued"] + retried) / seconds
    ended = period.numbers["completed"] + period.failures
    work_s = period.run_s / ended if ended else None
    load = arrivals * work_s if work_s is not None else None
    slots = sum(slots_by_agent)
    held = min(slots, untold(long, period.run_s / seconds, work_s, seconds))
    used = min(1.0, (period.utilisation or 0.0) + held / slots) if slots and (held or period.utilisation is not None) else period.utilisation
    drain_s = wait_s = None
    needed = agents_needed = None
    if work_s is not None and load is not None:
        spare_per_s = (slots - held) / work_s - arrivals if work_s else math.inf
        drain_s = (0.0 if not waiting else waiting / spare_per_s) if spare_per_s > 0 else None
        wait_s = erlang.mean_wait_s(slots - held, load, work_s) if slots > held else None
        needed = held + erlang.servers_needed(load, work_s, wished_wait_s)
        agents_needed = math.ceil(needed / (slots / len(slots_by_agent))) if slots else None
    return Capacity(
        name, waiting, processing, slots, len(slots_by_agent), arrivals, work_s, load, used, drain_s, wait_s, needed, agents_needed,
    )  # fmt: skip


def _shares(counts: histogram.Counts, share: Callable[[int], int]) -> histogram.Counts:
    return {bucket: part for bucket, count in counts.items() if (part := share(count))}


def _span(step: int) -> int:
    """Of the rows that points of so many minutes are made of."""
    return DAY if step >= DAY else HOUR if step >= HOUR else MINUTE


def _kept_span(owner: Owner, minute: int) -> int:
    """The shortest span of which rows are kept that are as old as a minute; a day where none are."""
    age = int(owner.clock.now_s() // 60) - minute
    return next((span for span in (MINUTE, HOUR) if age <= KEPT_MINUTES[span] + MARGIN), DAY)


async def _before(store: Statistics, owner: Owner, names: dict[int, str], begin: int, end: int, step: int) -> Series:
    """Everything in a period that may be longer ago than rows of its step are kept: what is older is told by equal parts of the longer ones that are."""
    points: list[Point] = []
    minute = int(owner.clock.now_s() // 60)
    for shorter, longer in ((HOUR, DAY), (MINUTE, HOUR)):
        edge = min(end, -(-(minute - KEPT_MINUTES[shorter]) // longer) * longer)  # from here on all of the shorter ones are there
        if shorter >= _span(step) and begin < edge:
            [whole] = await _series(store, names, begin // longer * longer, -(-edge // longer) * longer, longer, "")
            by_time = {point.at: point for point in whole.points}
            points += [by_time[at // longer * longer].part(at, step) for at in range(begin, edge, step)]
            begin = edge
    if begin < end:
        [rest] = await _series(store, names, begin, end, step, "")
        points += rest.points
    return Series("", points)


async def _series(store: Statistics, names: dict[int, str], from_minute: int, to_minute: int, step: int, by: str) -> list[Series]:
    """Series by name; at least one when `by` is empty."""
    span = _span(step)
    groups: dict[str, dict[int, Point]] = {} if by else {"": {}}
    most: Counter[tuple[str, int, int]] = Counter()
    for part, begin, end in await parts(store, span, from_minute, to_minute):
        for row in await _rows(store, part, begin, end, list(names)):
            name = names[row.type_id] if by else ""
            at = row.at // step * step
            points = groups.setdefault(name, {})
            point = points.get(at)
            if point is None:
                point = points[at] = Point(at, step)
            point.add(row, part)
            most[name, at, row.type_id] = max(most[name, at, row.type_id], row.waiting)
    for (name, at, _), waiting in most.items():
        groups[name][at].waiting += waiting
    times = range(from_minute, to_minute, step)
    return [Series(name, [points.get(at) or Point(at, step) for at in times]) for name, points in sorted(groups.items())]


async def _of_agents(store: Statistics, names: dict[int, str], from_minute: int, to_minute: int, step: int) -> tuple[list[Series], int | None]:
    """(series by agent; the minute from which on everything is in them, None: all is). The newest part is read first."""
    span = _span(step)
    groups: dict[str, dict[int, Point]] = {}
    left, since = MOST_SUMS, None
    for part, begin, end in reversed(await parts(store, span, from_minute, to_minute)):
        sums, since = await read(store.sums_of_agents(part, begin, end, list(names), step=step, most=MOST_SUMMED))
        if len(sums) > left:  # points are left out at their oldest
            since = sums[-left - 1].at + step
            sums = [row for row in sums if row.at >= since]
        for row in sums:
            points = groups.setdefault(row.agent, {})
            points.setdefault(row.at, Point(row.at, step)).add(row, part)
        left -= len(sums)
        if since is not None:
            break
    times = range(from_minute, to_minute, step)
    return [Series(name, [points.get(at) or Point(at, step) for at in times]) for name, points in sorted(groups.items())], since


async def parts(store: Statistics, span: int, from_minute: int, to_minute: int) -> list[tuple[int, int, int]]:
    """(span, from, to): which rows tell of which part of a period. What is not added up into days or hours yet is read as hours or minutes."""
    found, begin = [], from_minute
    for part in (DAY, HOUR, MINUTE):
        if part > span or begin >= to_minute:
            continue
        newest = await read(store.newest(part, to_minute)) if part != MINUTE else None
        end = to_minute if part == MINUTE else min(to_minute, newest + part) if newest is not None else begin
        if end > begin:
            found.append((part, begin, end))
            begin = end
    return found


async def _rows(store: Statistics, span: int, begin: int, end: int, type_ids: list[int]) -> list[StatRow]:
    rows = await read(store.rows(span, begin, end, type_ids))
    if len(rows) > MOST_ROWS:
        raise _too_many(MOST_ROWS)
    return rows


def _too_many(rows: int) -> InvalidField:
    return InvalidField("types", f"more than {rows:,} rows to add up: name fewer types, or take a longer step or a shorter period")


async def read(reading: Awaitable[T]) -> T:
    """What a read of the store gives. Raises DatabaseUnavailable when it gives nothing in its time."""
    try:
        return await reading
    except READ_FAILURES as error:
        raise DatabaseUnavailable("the database cannot be reached") from error


def type_names(owner: Owner, domain: str, types: Sequence[str]) -> dict[int, str]:
    """Types by id: those named, or all that the caller oversees. Raises TypeNotFound."""
    if not types:
        return {entry.type_id: entry.name for entry in reachable.entries(owner, domain, Act.OVERSEE)}
    found = {}
    for name in types:
        entry = owner.types.find(domain, name)
        if entry is None or not reach.types_for(Act.OVERSEE).allow(name):
            raise TypeNotFound(name)
        found[entry.type_id] = name
    return found
