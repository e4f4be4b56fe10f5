"""Runs bulk operations: pages of members are found, decided by the owner in one flush each with how far the operation came, and the next one follows.

One task of the owner does it, a page of one operation after a page of another, so any number of them go on and none of them loads the broker more than a page at a time.
Whether an operation goes on is read from its row before each page, under a lock that whoever stops it takes too: once a stop is answered, nothing more is done.
"""

import asyncio
import math
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from headrace_broker.model.amended import Update
from headrace_broker.model.errors import BrokerError, ResultUnknown
from headrace_broker.model.operation import Action, Deed, Operation
from headrace_broker.shards import changes
from headrace_broker.shards.intents import ChangeIntent, Verb
from headrace_broker.shards.pages import Page
from headrace_broker.store.heads import Heads
from headrace_broker.store.operations import OperationStore, Standing
from headrace_broker.store.pool import ANY_FAILURE

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

PAGE = 500
"""Jobs of one page, and so of one flush, at most."""
FOUND = 2000
"""Jobs that one search finds for an operation without a rate."""
PAGE_BYTES = 4 * 1024 * 1024
"""Of the payloads that one flush gives to jobs, about."""
PAGES_A_SECOND = 4
"""Of an operation with a rate: smaller pages would cost more, larger ones come in gusts."""
POLL_S = 10.0
"""How long an operation whose start was cut off may wait to be noticed."""
RETRY_S = 0.5
TRIES = 20
"""Of jobs that move each time they are to be decided."""
AGAIN_S = 0.02

FindIds = Callable[..., Awaitable[tuple[list[int], int | None]]]
"""`Search.ids` (actions/search.py): (domain, filter, after=, until_id=, limit=) -> (ids that match, rising; where to go on after, None: there are no more)."""

log = structlog.get_logger("headrace.operations")


class Pace:
    """When the next page of an operation is due, on the owner's monotonic clock; and what a search found for it: `found`, of all ids up to `until`."""

    __slots__ = ("began", "counted", "found", "not_before", "rests", "searched", "spent", "tries", "until")

    def __init__(self) -> None:
        self.found: list[int] = []
        self.until = 0
        self.rests = 0  # since which rest that was found
        self.searched = False  # there are no more above `until`
        self.began = -math.inf  # of the newest page, and how many jobs it had
        self.spent = 0
        self.not_before = 0.0  # after something went wrong
        self.tries = 0  # pages in a row that decided nothing
        self.counted: tuple[int, int, int] | None = None  # what the metrics have of it: done, skipped, failed

    def due(self, rate: float) -> float:
        """The time of the next page."""
        return max(self.not_before, self.began + self.spent / rate if rate and self.spent else 0.0)


class Operations:
    """Those of one owner. `find_ids` searches its jobs."""

    def __init__(self, owner: "Owner", heads: Heads, store: OperationStore, find_ids: FindIds) -> None:
        self._owner = owner
        self._heads = heads
        self._store = store
        self._find_ids = find_ids
        self._acting = asyncio.Lock()
        self._rests = 0  # how often it was at rest
        self._standings: dict[int, Standing] = {}
        self._paces: dict[int, Pace] = {}
        self._wake = asyncio.Event()
        self.moved = asyncio.Event()  # set, and replaced, whenever a page is durable

    def wake(self) -> None:
        """Something is to be done: an operation was started, goes on, or has another rate."""
        self._wake.set()

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """No page is decided meanwhile, and those that were are durable. What was found before is found again: the jobs, and the operation, may be others now."""
        async with self._acting:
            try:
                yield
            finally:
                self._rests += 1
        self.wake()

    async def run(self) -> None:
        """Runs operations until cancelled. While the database is away it waits."""
        while True:
            wait_s = RETRY_S
            try:
                wait_s = await self.run_once()
            except ANY_FAILURE as error:
                log.warning("operations not read; trying again", reason=f"{type(error).__name__}: {error}")
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def run_once(self) -> float:
        """A page of each operation that is due; returns how long there is nothing to do."""
        rests = self._rests
        running = await self._store.running()
        for operation in running:
            pace = self._paces.setdefault(operation.operation_id, Pace())
            if pace.due(operation.plan.rate) > self._owner.now():
                continue
            try:
                await self._page(operation, pace, rests)
            except (BrokerError, *ANY_FAILURE) as error:
                log.warning("a page of an operation failed; trying again", operation_id=operation.operation_id, reason=f"{type(error).__name__}: {error}")
                pace.not_before = self._owner.now() + RETRY_S
            self._count(operation, pace)
        ended = {number for number, standing in self._standings.items() if standing.finished}  # and that is durable
        going_on = {op.operation_id: op.plan.rate for op in running if op.operation_id not in ended}
        self._standings = {number: standing for number, standing in self._standings.items() if number in going_on}  # of a stopped one all is durable
        self._paces = {number: self._paces[number] for number in going_on}
        self._owner.metrics.operations_running.set(self._owner.shard.number, len(going_on))
        now = self._owner.now()
        return max(0.0, min([POLL_S, *(self._paces[number].due(rate) - now for number, rate in going_on.items())]))

    async def _page(self, operation: Operation, pace: Pace, rests: int) -> None:
        """`rests`: how often all was at rest when the operation was read."""
        standing = self._standings.get(operation.operation_id)
        if standing is None:
            standing = self._standings[operation.operation_id] = await self._store.standing(operation.operation_id)
            pace.counted = (standing.done, standing.skipped, standing.failed)
        if pace.rests != rests:
            pace.found, pace.until, pace.rests = [], 0, rests
        page = await self._find(operation, standing, pace)
        page.last_try = pace.tries >= TRIES
        async with self._acting:
            if rests != self._rests:
                return
            if not await self._store.is_running(operation.operation_id):  # stopped by a broker that owned the queue a moment ago
                return
            if page.new:
                pace.began, pace.spent = self._owner.now(), page.new
            pages = standing.n
            await self._decide(page)
        pace.tries = 0 if standing.n > pages else pace.tries + 1
        pace.not_before = self._owner.now() + AGAIN_S if standing.todo else 0.0
        self._tell()

    async def _find(self, operation: Operation, standing: Standing, pace: Pace) -> Page:
        """Members that are not decided yet, or else the next ones."""
        if standing.todo or standing.searched:
            return Page(operation, standing, list(standing.todo), standing.after, standing.searched, 0)
        rate, wanted = operation.plan.rate, operation.plan.wanted
        most = min(PAGE, PAGE_BYTES // max(1, len(operation.plan.deed.payload or b"")))
        size = min(most, max(1, math.ceil(rate / PAGES_A_SECOND))) if rate else most
        pace.found = pace.found[bisect_right(pace.found, standing.after) :]
        if not pace.found and pace.until <= standing.after:
            limit = size if rate else FOUND
            pace.found, after = await self._find_ids(operation.caller.domain, wanted, after=standing.after, until_id=operation.frozen_id, limit=limit)
            pace.until, pace.searched = operation.frozen_id if after is None else after, after is None
        job_ids = pace.found[:size]
        more = len(pace.found) > size
        return Page(operation, standing, job_ids, job_ids[-1] if more else pace.until, pace.searched and not more, len(job_ids))

    async def _decide(self, page: Page) -> None:
        """Has the owner decide a page; what became of it is in the standing, whether or not this call hears of it."""
        plan, caller = page.operation.plan, page.operation.caller
        verb, update = as_change(plan.deed)

        def intent(read: changes.Read) -> ChangeIntent:
            page.gone = tuple(read.gone)
            return ChangeIntent(
                verb, read.found, caller, plan.reason, read.moved, read.done, plan.deed.include_completed, plan.deed.grace_s, plan.deed.force, update=update,
                payload=plan.deed.payload, content_type=plan.deed.content_type, unique_holders=read.holders, keys_moved=read.keys_moved, page=page,
            )  # fmt: skip

        try:
            await changes.ask(self._owner, self._heads, page.job_ids, caller.domain, intent)
        except ResultUnknown:
            await self._durable()  # it is on its way, and whoever stops the operation waits for it
            raise

    def _count(self, operation: Operation, pace: Pace) -> None:
        """Adds what is new to the metrics."""
        standing, metrics, action = self._standings.get(operation.operation_id), self._owner.metrics, operation.plan.deed.action
        if standing is None:
            return
        now, before = (standing.done, standing.skipped, standing.failed), pace.counted or (0, 0, 0)
        for result, new, old in zip(("done", "skipped", "failed"), now, before, strict=True):
            metrics.operation_jobs.labels(action, result).inc(new - old)
        pace.counted = now
        if standing.finished:
            metrics.operations_ended.labels(action).inc()

    async def _durable(self) -> None:
        """Returns once what was decided before is stored. If it cannot be, this task ends with its owner."""
        decided = self._owner.rounds
        while self._owner.stored < decided:
            self._owner.wake.set()
            await asyncio.sleep(AGAIN_S)

    def _tell(self) -> None:
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()


def as_change(deed: Deed) -> tuple[Verb, Update | None]:
    """What the owner is asked to do to each job."""
    if deed.action in (Action.REQUEUE, Action.ABORT, Action.PURGE):
        return Verb(deed.action.value), None
    return Verb.UPDATE, Update(priority=deed.priority) if deed.action is Action.PRIORITY else Update(hold=deed.action is Action.HOLD)
