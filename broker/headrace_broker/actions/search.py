"""Searching jobs by any combination of fields, in bounded time.

A search walks through the ids, which rise with time, in one direction. The source that looks at the fewest facts gives candidates of one window of ids after the other,
and each is held against the whole filter. Windows grow while they are answered quickly and shrink when they are not, so each statement is short however dense the jobs
lie. When the time is over the search stops where it is, says how far it came, and its position goes on from there. What it has passed is complete: every job that
matched when it was looked at has been found.

Waiting and processing jobs are in memory: as long as they are few, they are the candidates, and the whole of them is one window.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace_broker.actions import reachable
from headrace_broker.actions.reach import secrets
from headrace_broker.model.errors import Busy, DatabaseUnavailable, TypeDenied
from headrace_broker.model.filter import UNSETTLED, JobFilter, Source, source_of
from headrace_broker.model.ids import MAX_ID, MS_SHIFT, TICK_SHIFT, created_at_s
from headrace_broker.model.permissions import Act
from headrace_broker.model.redaction import is_secret
from headrace_broker.shards import listing
from headrace_broker.shards.owner import Owner
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.search import Finder, Match, NoTurn, Query, Silent, query, read_in_order

BUDGET_S = 1.5
"""For all windows of one answer; the jobs of the answer are read afterwards."""
WINDOW_S = 0.45
"""Longest time of one window: what was done in it is lost when it is cancelled."""
FIRST_WIDTH = 60_000 << MS_SHIFT
"""A minute of ids."""
INDEXED_WIDTH = 86_400_000 << MS_SHIFT
"""A day of ids, where an index leads to what lies in it."""
LEAST_WIDTH = 1 << TICK_SHIFT
QUICK_S, SLOW_S = 0.05, 0.25
CANDIDATES = 2000
"""Of one statement, at most; where a window has more, it ends at the last of them."""
AT_ONCE = 500
"""Candidates that are held against the filter in one statement, at most."""
FEW_AT_ONCE = 50
"""Candidates of a short page's first statements: mostly it is full with them."""
IN_MEMORY = 100_000
"""Waiting jobs, at most, that are candidates from memory: copying and sorting them takes about 30 ms of the event loop. More of them lie densely in the ledger."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a search goes on: all ids above `at` have been looked at (below it, with the oldest first); `width` of the next window in ids; 0: not known."""

    at: int
    width: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """Jobs that match, in order. `next` None: everything was searched. `searched_until_s`: creation time up to which all was looked at."""

    matches: list[Match]
    next: Position | None
    searched_until_s: float


def no_turn(error: NoTurn) -> Busy:
    """What is told of a search that had no turn: what is known, which is not whether others are many or the database is slow."""
    return Busy(f"other searches have all turns, the longest of them for {error.longest_s:.1f} s now; try again shortly", retry_after_s=1.0)


def _refuse_guesses(wanted: JobFilter, names: Iterable[str]) -> None:
    """Raises TypeDenied where what is masked of jobs of these types could be found out by asking for it."""
    if wanted.log_text is None and not wanted.labels:
        return
    name = next((name for name in names if secrets(name)), None)
    if name is not None and (wanted.log_text is not None or any(is_secret(key, secrets(name)) for key, _ in wanted.labels)):
        raise TypeDenied(Act.VIEW_SECRETS, name)


class Search:
    """Searches of one owner's jobs. Errors: Busy (other searches have all turns), DatabaseUnavailable, TypeDenied (log text, or a label of a secret name, of jobs whose
    secrets are masked).

    Cancellation: the statement under way is cancelled in Postgres too.
    """

    def __init__(self, owner: Owner, finder: Finder) -> None:
        self._owner = owner
        self._finder = finder

    async def find(
        self, domain: str, wanted: JobFilter, *, limit: int | None, position: Position | None = None, oldest_first: bool = False, until_id: int | None = None,
        budget_s: float = BUDGET_S,
    ) -> Found:  # fmt: skip
        """Up to `limit` jobs that match (None: as many as there is time for), from a position on, and none with an id above `until_id`."""
        seen = [entry for entry in reachable.entries(self._owner, domain, Act.VIEW) if not wanted.types or entry.name in wanted.types]
        _refuse_guesses(wanted, (entry.name for entry in seen))
        entries = [entry.type_id for entry in seen]
        lowest, above = self._bounds(wanted, entries, position, until_id, oldest_first=oldest_first)
        walk = _Walk(lowest, max(lowest, above), oldest_first, asyncio.get_running_loop().time() + budget_s, limit)
        if not entries or not wanted.wanted_states:
            return walk.finish()
        begin = walk.position
        try:
            agent_ids = await self._finder.agent_ids(domain, wanted.agent, timeout_s=budget_s) if wanted.agent is not None else None
            if agent_ids == []:
                return walk.finish()
            q = query(wanted, entries, agent_ids, self._owner.clock.now_s())
            if wanted.wanted_states <= UNSETTLED and wanted.instance_id is None and self._few_wait(entries):
                await self._through_memory(walk, q, wanted)
            else:
                if oldest_first and walk.lowest < FIRST_WIDTH:  # of its first page: windows that are empty would grow until one of them holds all there is
                    walk.lowest = min(walk.above, max(walk.lowest, await self._finder.first_id(timeout_s=budget_s)))
                source, indexed = source_of(wanted)
                walk.width = position.width if position is not None and position.width else INDEXED_WIDTH if indexed else self._first_width(walk, wanted, entries)
                await self._through_ledger(walk, q, source)
        except NoTurn as error:
            if walk.position == begin:
                raise no_turn(error) from error
        except Silent as error:
            raise DatabaseUnavailable(str(error)) from error
        except READ_FAILURES as error:
            raise DatabaseUnavailable(f"the database did not answer in time: {type(error).__name__}") from error
        return walk.end()

    def _bounds(self, wanted: JobFilter, entries: list[int], position: Position | None, until_id: int | None, *, oldest_first: bool) -> tuple[int, int]:
        """(the lowest id that is looked at, the one above the highest)."""
        lowest, above = wanted.id_bounds()
        above = min(above, (until_id if until_id is not None else self.frozen_id()) + 1)
        if position is not None and oldest_first:
            lowest = max(lowest, position.at)
        elif position is not None:
            above = min(above, position.at)
        if oldest_first and wanted.wanted_states <= UNSETTLED and not self._few_wait(entries):  # or all of history would be passed first
            lowest = max(lowest, listing.lowest(self._owner))
        return lowest, above

    def frozen_id(self) -> int:
        """No job that is submitted from now on has an id up to this one."""
        return self._owner.numbering.newest

    async def ids(self, domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
        """For changes of many jobs: the next ids that match, rising, above `after` (0 at first) and up to `until_id`, the `frozen_id` of the moment that is meant; and
        the `after` to go on with, None at the end.

        The two numbers are all that has to be kept for going on after a crash. Each job is visited once; whether it matches is told as of the visit, and may have changed
        when it is acted upon. The list may be empty before the end: that is as far as the time went.
        """
        found = await self.find(domain, wanted, limit=limit, position=Position(after + 1), oldest_first=True, until_id=until_id)
        return [match.job_id for match in found.matches], found.next.at - 1 if found.next is not None else None

    def _few_wait(self, type_ids: Sequence[int]) -> bool:
        owner = self._owner
        ready = sum(owner.lanes.ready(type_id) for type_id in type_ids)
        in_lines = len(owner.lines.timers) + sum(crowd.waiting for type_id, crowd in owner.lines.crowds.items() if type_id in type_ids)
        return ready + in_lines + len(owner.timers) + len(owner.live_jobs) <= IN_MEMORY

    def _first_width(self, walk: "_Walk", wanted: JobFilter, type_ids: Sequence[int]) -> int:
        """Of a window that is answered quickly: where many jobs wait, memory knows where CANDIDATES of them lie. Of one type however long ago: an index leads there, and
        windows that grow until one of them holds what waits would hold all of it.
        """
        starts: list[int] = []
        if wanted.wanted_states <= UNSETTLED and not walk.oldest_first:
            starts = [start for type_id in type_ids if (start := self._owner.lanes.newest_from(type_id, CANDIDATES)) is not None]
        if not starts:
            return FIRST_WIDTH
        width = max(LEAST_WIDTH, walk.above - max(starts))
        indexed = len(type_ids) == 1 and wanted.instance_id is None and not wanted.labels
        return width if indexed else min(FIRST_WIDTH, width)

    async def _through_memory(self, walk: "_Walk", q: Query, wanted: JobFilter) -> None:
        ids = listing.newest(self._owner, set(q.type_ids), set(wanted.wanted_states), walk.above, walk.lowest, IN_MEMORY)
        if walk.oldest_first:
            ids.reverse()
        if await self._match(walk, q, ids, text_known=False):
            walk.pass_window(walk.lowest, walk.above)

    async def _through_ledger(self, walk: "_Walk", q: Query, source: Source) -> None:
        loop = asyncio.get_running_loop()
        rows = walk.first(CANDIDATES) if read_in_order(source, q) else CANDIDATES  # where they must be sorted, few of them cost as much as many
        while not walk.done:
            left_s = walk.deadline - loop.time()
            if left_s <= 0:
                return
            lo, hi = walk.window()
            began = loop.time()
            most_s = min(left_s, WINDOW_S) if hi - lo > LEAST_WIDTH else left_s  # it cannot become smaller, and one job may have millions of lines
            try:
                ids = await self._finder.candidates(source, q, lo, hi, rows=rows, oldest_first=walk.oldest_first, timeout_s=most_s)
            except TimeoutError:
                walk.width = max(LEAST_WIDTH, (hi - lo) // 16)
                continue
            took_s = loop.time() - began
            if not await self._match(walk, q, ids, text_known=source is Source.LOGS):
                return
            if len(ids) < rows:
                walk.pass_window(lo, hi)
            else:
                rows = min(CANDIDATES, 4 * rows)
            if took_s < QUICK_S:
                walk.width *= 4
            elif took_s > SLOW_S:
                walk.width = max(LEAST_WIDTH, walk.width // 2)

    async def _match(self, walk: "_Walk", q: Query, ids: Sequence[int], *, text_known: bool) -> bool:
        """Holds candidates against the filter, in order; False: the page is full, or the time is over, before the last of them."""
        loop = asyncio.get_running_loop()
        size = walk.first(AT_ONCE)
        start = 0
        while start < len(ids):
            chunk = ids[start : start + size]
            left_s = walk.deadline - loop.time()
            if left_s <= 0:
                return False
            try:
                found = await self._finder.matching(q, chunk, text_known=text_known, timeout_s=min(left_s, WINDOW_S) if len(chunk) > 1 else left_s)
            except TimeoutError:
                if len(chunk) == 1:
                    return False
                size = max(1, len(chunk) // 8)
                continue
            for match in found:
                walk.matches.append(match)
                if walk.full:
                    walk.pass_id(match.job_id)
                    return False
            walk.pass_id(chunk[-1])
            start += len(chunk)
            if len(chunk) == size:
                size = min(AT_ONCE, 4 * size)
        return True


class _Walk:
    """What is left to be searched: ids from `lowest` (included) to `above` (excluded), in one direction."""

    def __init__(self, lowest: int, above: int, oldest_first: bool, deadline: float, limit: int | None) -> None:
        self.lowest = lowest
        self.above = above
        self.oldest_first = oldest_first
        self.deadline = deadline
        self.limit = limit
        self.width = 0
        self.matches: list[Match] = []

    def first(self, most: int) -> int:
        """Candidates to begin with: about as many as the page is likely to need, since mostly all of the first match."""
        return most if self.limit is None else min(most, max(FEW_AT_ONCE, 2 * self.limit))

    @property
    def done(self) -> bool:
        return self.lowest >= self.above

    @property
    def full(self) -> bool:
        return self.limit is not None and len(self.matches) >= self.limit

    def window(self) -> tuple[int, int]:
        """The next window of ids."""
        if self.oldest_first:
            return self.lowest, min(self.above, self.lowest + self.width)
        return max(self.lowest, self.above - self.width), self.above

    def pass_window(self, lo: int, hi: int) -> None:
        """All ids of a window have been looked at."""
        if self.oldest_first:
            self.lowest = hi
        else:
            self.above = lo

    def pass_id(self, job_id: int) -> None:
        """All ids up to this one, in the walk's direction, have been looked at."""
        if self.oldest_first:
            self.lowest = job_id + 1
        else:
            self.above = job_id

    @property
    def position(self) -> int:
        """How far it came."""
        return self.lowest if self.oldest_first else self.above

    def end(self) -> Found:
        """What came out."""
        return Found(self.matches, None if self.done else Position(self.position, min(self.width, MAX_ID)), created_at_s(self.position))

    def finish(self) -> Found:
        """What came out, when there cannot be anything more."""
        self.pass_window(self.lowest, self.above)
        return self.end()
