"""Waiting jobs that have terms: in lines of one type and equal terms; and who of them is next.

A line is listed, for each priority at which it has jobs, under its labels and its fairness key. Of the lines that an agent may serve the highest priority goes first,
then the fairness key whose turn it is, then the job that has been ready longest. Turns follow stride scheduling (Waldspurger and Weihl, "Stride Scheduling", MIT,
1995): a key's pass grows by 1 / weight with each of its jobs, and the lowest pass is next. A key that had nothing to do comes back at the present pass: idleness earns
nothing.

A line whose limit key is at its limit is parked when it comes up, and listed again when a lease of that key ends: no other job of it is looked at, however many there
are. Counts of leases by limit key are kept whether there is a limit or not, so that one that is set is right from then on. Jobs without terms are not in here.
"""

import heapq
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from headrace_broker.model.job import State
from headrace_broker.model.terms import Terms
from headrace_broker.shards.lanes import Lanes
from headrace_broker.shards.timers import Timers
from headrace_broker.shards.types import TypeEntry

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator

    from headrace_broker.shards.live import Live
    from headrace_broker.shards.session import Session

UNLISTED_PASSES = 10_000  # of keys that have nothing to do, before they are forgotten
FORGOTTEN_LISTINGS = 1000
_LIVE = (State.WAITING, State.PROCESSING)


class Cell:
    """One limit key of one type. `running`: its leases, and those that ended but may go on at their agents."""

    __slots__ = ("key", "lines", "parked", "running")

    def __init__(self, key: str) -> None:
        self.key = key
        self.running = 0
        self.lines = 0
        self.parked: dict[Line, None] = {}


class Line:
    """Jobs of one type with the same terms. `jobs`: how many are not settled; `listed`: the jobs' own priorities at which it is listed; `boost`: its instance's."""

    __slots__ = ("boost", "cell", "entry", "jobs", "line_id", "listed", "terms")

    def __init__(self, line_id: int, entry: TypeEntry, terms: Terms, cell: Cell | None) -> None:
        self.line_id = line_id
        self.entry = entry
        self.terms = terms
        self.cell = cell
        self.jobs = 0
        self.boost = 0
        self.listed: set[int] = set()

    @property
    def room(self) -> int:
        """How many more leases its limit key may have."""
        limit = self.entry.settings.concurrency_per_key
        return limit - self.cell.running if limit and self.cell is not None else 1 << 30


class Clock:
    """Whose turn it is among the fairness keys of one type and priority."""

    __slots__ = ("listed", "now", "passes")

    def __init__(self) -> None:
        self.passes: dict[str, float] = {}
        self.now = 0.0  # pass of the job that was granted last
        self.listed = 0

    def join(self, key: str) -> float:
        """The pass of a key that has something to do."""
        found = self.passes[key] = max(self.passes.get(key, 0.0), self.now)
        return found

    def serve(self, key: str, weight: float) -> None:
        """A job of the key is granted."""
        self.now = self.join(key)
        self.passes[key] = self.now + 1 / weight
        if len(self.passes) > UNLISTED_PASSES + self.listed:
            self.passes = {other: value for other, value in self.passes.items() if value > self.now + 1}


class Level:
    """The lines of one priority that ask for the same labels: `turns` by fairness key, each a heap of (first id, line id, line); `order`: a heap of (pass, key)."""

    __slots__ = ("order", "turns")

    def __init__(self) -> None:
        self.turns: dict[str, list[tuple[int, int, Line]]] = {}
        self.order: list[tuple[float, str]] = []


class Choice:
    """What an agent may be granted next of a type. Compared by priority first, then by turn and age. `priority`: with what the instance adds; `aged`: and with age."""

    __slots__ = ("aged", "first", "line", "passed", "priority")

    def __init__(self, priority: int, passed: float, first: int, line: Line, bonus: int = 0) -> None:
        self.priority = priority
        self.aged = priority + bonus
        self.passed = passed
        self.first = first
        self.line = line

    def before(self, other: "Choice") -> bool:
        """Whether this one goes first."""
        return (-self.aged, self.passed, self.first) < (-other.aged, other.passed, other.first)

    @property
    def own(self) -> int:
        """The priority of the job itself."""
        return self.priority - self.line.boost


class Crowd:
    """All lines of one type. `lines`: how many; `waiting`: their entries; `listed`: listings."""

    def __init__(self, entry: TypeEntry) -> None:
        self.entry = entry
        self.seen = entry.settings  # that were in force when lines were parked
        self.levels: dict[frozenset[tuple[str, str]], dict[int, Level]] = {}
        self.clocks: dict[int, Clock] = {}
        self.cells: dict[str, Cell] = {}
        self.lines = 0
        self.waiting = 0
        self.listed = 0


class Lines:
    """The lines of one owner. `waits` and `stale` are those of its other lanes, since a job has one mark wherever it waits; `leased`: leases of jobs that have terms."""

    def __init__(self, stale: dict[int, int], waits: Callable[[int, int], bool | None] | None = None) -> None:
        self.lanes = Lanes(stale, waits)
        self.timers = Timers()
        self.crowds: dict[int, Crowd] = {}
        self.leased = 0
        self.boosts: dict[tuple[int, str], int] = {}  # (domain_id, instance) -> its priority
        self.members: dict[int, Line] = {}  # unsettled jobs in lines of an instance
        self._lines: dict[tuple[int, Terms], Line] = {}
        self._by_id: dict[int, Line] = {}
        self._left: dict[int, tuple[int, Terms]] = {}  # what lines were that timers may still name, although their jobs are in others by now
        self._last_id = 0

    # Jobs come and go --------------------------------------------------------------------------------------------------------------------------

    def of(self, entry: TypeEntry, terms: Terms) -> Line:
        """The line of a type and terms."""
        line = self._lines.get((entry.type_id, terms))
        if line is None:
            cell = self.cell(entry, terms.limit_key) if terms.limit_key else None
            if cell is not None:
                cell.lines += 1
            self._crowd(entry).lines += 1
            self._last_id += 1
            line = self._lines[entry.type_id, terms] = self._by_id[self._last_id] = Line(self._last_id, entry, terms, cell)
            line.boost = self.boosts.get((entry.domain_id, terms.instance), 0) if terms.instance else 0
        return line

    def cell(self, entry: TypeEntry, key: str) -> Cell:
        """What is counted for a limit key of a type."""
        cells = self._crowd(entry).cells
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = Cell(key)
        return cell

    def enter(self, line: Line, priority: int, job_id: int, due: float, now: float, since: int = 0) -> None:
        """A job waits: from now on, or from `due` (monotonic). `since`: as for `Lanes.push`."""
        if line.terms.instance and job_id not in self.members:
            self.members[job_id] = line
        if due > now:
            self.timers.push(due, job_id, line.line_id, priority, now)
        else:
            self.push(line, priority, job_id, since)

    def take_due(self, now: float, since: int) -> list[int]:
        """Jobs whose time has come are ready; returns them."""
        due: list[int] = []
        for line_id, priority, job_id in self.timers.pop_due(now):
            line = self.members.get(job_id) or self._by_id.get(line_id)
            if line is None:
                self.lanes.settle_stale([job_id])
            else:
                self.push(line, priority, job_id, since)
                due.append(job_id)
        return due

    def began(self, line: Line, count: int) -> None:
        """Jobs of the line were granted."""
        self.leased += count
        if line.cell is not None:
            line.cell.running += count

    def moved(self, line: Line, before: State, after: State) -> None:
        """A job of the line goes from one state to another."""
        if after is State.PROCESSING and before is not State.PROCESSING:
            self.began(line, 1)
        elif before is State.PROCESSING and after is not State.PROCESSING:
            self.leased -= 1
            if line.cell is not None:
                self.let_go(line.entry, line.cell)
        line.jobs += (after in _LIVE) - (before in _LIVE)
        if not line.jobs:
            self._forget(line)

    def let_go(self, entry: TypeEntry, cell: Cell) -> None:
        """One lease of a limit key is over: what was parked for it is listed again."""
        cell.running -= 1
        self._unpark(self._crowd(entry), cell)
        self._drop_if_idle(entry, cell)

    def push(self, line: Line, priority: int, job_id: int, since: int) -> None:
        """A job of the line is ready."""
        self.lanes.push(line.line_id, priority, job_id, since)
        self.pushed(line, priority, 1)

    def pushed(self, line: Line, priority: int, count: int) -> None:
        """Jobs were put into its lane."""
        crowd = self._crowd(line.entry)
        crowd.waiting += count
        if priority not in line.listed and (line.cell is None or line not in line.cell.parked):
            self._list(crowd, line, priority)

    def _forget(self, line: Line) -> None:
        del self._lines[line.entry.type_id, line.terms]
        del self._by_id[line.line_id]
        crowd = self._crowd(line.entry)
        crowd.waiting -= self.lanes.drop(line.line_id)
        crowd.lines -= 1
        if crowd.listed > FORGOTTEN_LISTINGS + 2 * crowd.lines:  # of lines that are gone, since no agent comes to look at them
            self._list_anew(crowd)
        if line.cell is not None:
            line.cell.parked.pop(line, None)
            line.cell.lines -= 1
            self._drop_if_idle(line.entry, line.cell)

    def _drop_if_idle(self, entry: TypeEntry, cell: Cell) -> None:
        if not cell.lines and not cell.running:
            self._crowd(entry).cells.pop(cell.key, None)

    def _crowd(self, entry: TypeEntry) -> Crowd:
        crowd = self.crowds.get(entry.type_id)
        if crowd is None:
            crowd = self.crowds[entry.type_id] = Crowd(entry)
        return crowd

    # Who is next -------------------------------------------------------------------------------------------------------------------------------

    def ready(self, crowd: Crowd) -> int:
        """About how many of its jobs may be granted, at most; 0: none."""
        if crowd.seen is not crowd.entry.settings:  # a limit may have been raised
            crowd.seen = crowd.entry.settings
            for cell in list(crowd.cells.values()):
                self._unpark(crowd, cell)
        return crowd.waiting if crowd.listed else 0

    def best(self, crowd: Crowd, session: "Session", bonus: "Callable[[int], int] | None" = None) -> Choice | None:
        """What the agent may be granted next, as far as terms are concerned. `bonus`: what age adds to a priority, for jobs that have been ready since an id."""
        found: Choice | None = None
        for required, levels in list(crowd.levels.items()):
            if required <= session.label_items:
                choice = self._best(crowd, levels) if bonus is None else self._oldest(crowd, levels, bonus)
                if choice is not None and (found is None or choice.before(found)):
                    found = choice
            if not levels:
                del crowd.levels[required]
        return found

    def take(self, crowd: Crowd, choice: Choice, count: int) -> list[int]:
        """Takes the job that was chosen, and up to `count` where no other line is listed; empty if it does not wait any more."""
        line = choice.line
        room = min(count, line.room) if crowd.listed == 1 else 1
        before = self.lanes.ready(line.line_id)
        taken = self.lanes.pop(line.line_id, choice.own, room)
        crowd.waiting -= before - self.lanes.ready(line.line_id)
        key = line.terms.fairness_key
        for _ in taken:
            crowd.clocks[choice.priority].serve(key, crowd.entry.settings.weight(key))
        return taken

    def _best(self, crowd: Crowd, levels: dict[int, Level]) -> Choice | None:
        while levels:
            priority = max(levels)
            choice = self._first(crowd, levels[priority], priority)
            if choice is not None:
                return choice
            del levels[priority]
        return None

    def _oldest(self, crowd: Crowd, levels: dict[int, Level], bonus: "Callable[[int], int]") -> Choice | None:
        """The same where age counts: the next of each priority is looked at."""
        found: Choice | None = None
        for priority in list(levels):
            choice = self._first(crowd, levels[priority], priority)
            if choice is None:
                del levels[priority]
                continue
            choice.aged += bonus(choice.first)
            if found is None or choice.before(found):
                found = choice
        return found

    def _first(self, crowd: Crowd, level: Level, priority: int) -> Choice | None:
        """The next line of a level. What is found out of place on the way is put right: nothing is looked for."""
        order = level.order
        while order:
            passed, key = order[0]
            present = crowd.clocks[priority].join(key)
            if present != passed:
                heapq.heapreplace(order, (present, key))
                continue
            turn = level.turns[key]
            while turn:
                first, line_id, line = turn[0]
                actual = self.lanes.find_first(line_id, priority - line.boost)
                if actual is None or line.room <= 0:
                    heapq.heappop(turn)
                    self._unlisted(crowd, line, priority - line.boost)
                    if actual is not None and line.cell is not None:
                        line.cell.parked[line] = None
                elif actual != first:
                    heapq.heapreplace(turn, (actual, line_id, line))
                else:
                    return Choice(priority, passed, first, line)
            del level.turns[key]
            heapq.heappop(order)
        return None

    def _list(self, crowd: Crowd, line: Line, priority: int) -> None:
        boosted = priority + line.boost
        clock = crowd.clocks.get(boosted)
        if clock is None:
            clock = crowd.clocks[boosted] = Clock()
        level = crowd.levels.setdefault(line.terms.required, {}).get(boosted)
        if level is None:
            level = crowd.levels[line.terms.required][boosted] = Level()
        key = line.terms.fairness_key
        turn = level.turns.get(key)
        if turn is None:
            turn = level.turns[key] = []
            heapq.heappush(level.order, (clock.join(key), key))
        heapq.heappush(turn, (self.lanes.first(line.line_id, priority), line.line_id, line))
        line.listed.add(priority)
        clock.listed += 1
        crowd.listed += 1

    def _unlisted(self, crowd: Crowd, line: Line, priority: int) -> None:
        line.listed.discard(priority)
        crowd.listed -= 1
        clock = crowd.clocks[priority + line.boost]
        clock.listed -= 1
        if not clock.listed:
            del crowd.clocks[priority + line.boost]

    def _unpark(self, crowd: Crowd, cell: Cell) -> None:
        parked, cell.parked = cell.parked, {}
        for line in parked:
            for priority in self.lanes.priorities(line.line_id):
                if priority not in line.listed:
                    self._list(crowd, line, priority)

    def _list_anew(self, crowd: Crowd) -> None:
        crowd.levels.clear()
        crowd.clocks.clear()
        crowd.listed = 0
        for line in self._by_id.values():
            if line.entry is crowd.entry:
                line.listed.clear()
                for priority in self.lanes.priorities(line.line_id) if line.cell is None or line not in line.cell.parked else ():
                    self._list(crowd, line, priority)

    # Instances that have a priority ------------------------------------------------------------------------------------------------------------

    def boosted(self, entry: TypeEntry, instance_id: str | None, terms: Terms | None) -> Terms | None:
        """The terms of a job that waits from now on: with its instance, where that has a priority."""
        if instance_id is None or (entry.domain_id, instance_id) not in self.boosts or (terms is not None and terms.instance):
            return terms
        return replace(terms or Terms(), instance=instance_id)

    def boost(self, domain_id: int, instance_id: str, priority: int) -> None:
        """The instance has this priority from now on. Lines of it follow at once; jobs that wait elsewhere are brought here by `rescore`."""
        if priority:
            self.boosts[domain_id, instance_id] = priority
        else:
            self.boosts.pop((domain_id, instance_id), None)
        for crowd in self.crowds.values():
            if crowd.entry.domain_id != domain_id:
                continue
            of_it = [line for line in self._by_id.values() if line.entry is crowd.entry and line.terms.instance == instance_id and line.boost != priority]
            for line in of_it:
                line.boost = priority
            if of_it:
                self._list_anew(crowd)

    def adopt(self, live: "Live") -> None:
        """A job that is about to wait again goes to the line of its instance, where that has a priority by now."""
        wanted = self.boosted(live.entry, live.instance_id, live.line.terms if live.line is not None else None)
        if wanted is None or (live.line is not None and live.line.terms == wanted):
            return
        if live.line is not None:
            self.moved(live.line, State.WAITING, State.COMPLETED)
        live.line = self.of(live.entry, wanted)
        live.line.jobs += 1

    def withdraw(self, line: Line, priority: int, job_ids: list[int]) -> set[int]:
        """Takes jobs of a line out of its lane; returns those that were ready there."""
        found = self.lanes.remove(line.line_id, priority, job_ids)
        self._crowd(line.entry).waiting -= len(found)
        return found

    def leave_behind(self, line: Line) -> None:
        """Jobs of a line that wait for a time go to another one: their entries in the timers name this one until then, also when it is forgotten."""
        self._left[line.line_id] = (line.entry.type_id, line.terms)

    def take_over(self, line: Line, priority: int, job_ids: list[int]) -> None:
        """Ready jobs that waited elsewhere are among those of this line."""
        self.lanes.merge(line.line_id, priority, job_ids)
        self.pushed(line, priority, len(job_ids))

    # Reads -------------------------------------------------------------------------------------------------------------------------------------

    def entries(self, type_id: int | None = None) -> "Iterator[tuple[Line, int, array[int]]]":
        """(line, priority, copy of the ids that are ready) of each line, of one type or of all; stale ids included."""
        for line_id, priority, ids in self.lanes.copies():
            line = self._by_id[line_id]
            if type_id is None or line.entry.type_id == type_id:
                yield line, priority, ids

    def ready_at(self) -> "Iterator[tuple[Line, int]]":
        """(line, priority) of each lane that has entries."""
        for line_id in self.lanes.types():
            for priority in self.lanes.priorities(line_id):
                yield self._by_id[line_id], priority

    def oldest(self) -> dict[int, int]:
        """Since when the job that is ready longest has been, as an id, of each type that has ready ones here. Takes time for each line, not for each job."""
        found: dict[int, int] = {}
        for line_id in self.lanes.types():
            since, type_id = self.lanes.oldest(line_id), self._by_id[line_id].entry.type_id
            if since is not None and since < found.get(type_id, since + 1):
                found[type_id] = since
        return found

    def places(self) -> dict[int, tuple[int, Terms]]:
        """What the lines are that `timers` name: (type_id, terms) of each. Whoever takes over finds the jobs of an instance in the lines that they have left, and brings
        them over again.
        """
        if self._left:
            named = {what >> 32 for what in self.timers.columns()[1]}
            self._left = {line_id: place for line_id, place in self._left.items() if line_id in named}
        return self._left | {line_id: (line.entry.type_id, line.terms) for line_id, line in self._by_id.items()}

    def timed(self) -> "Iterator[tuple[Line | None, int, int, float]]":
        """(line, priority, job_id, due) of jobs that wait for a time; None: the job does not count any more."""
        for job_id, what, due in zip(*self.timers.columns(), strict=True):
            yield self.members.get(job_id) or self._by_id.get(what >> 32), (what & 0xFFFF_FFFF) - 0x8000_0000, job_id, due

    def find(self, entry: TypeEntry, terms: Terms) -> Line | None:
        """The line of a type and terms, if it has jobs."""
        return self._lines.get((entry.type_id, terms))

    def ids(self, type_ids: set[int] | None) -> "Iterator[int]":
        """Jobs of these types, or of all, that are ready or wait for a time; stale ones included."""
        for line, _, ids in self.entries():
            if type_ids is None or line.entry.type_id in type_ids:
                yield from ids
        for timed, _, job_id, _ in self.timed():
            if timed is not None and (type_ids is None or timed.entry.type_id in type_ids):
                yield job_id
