"""Instances whose priority changes: their waiting jobs are brought to lines of their own, in batches, where the priority of the instance counts.

A job that is submitted, or waits again, after its instance got a priority goes there by itself (`Lines.boosted`, `Lines.adopt`). Those that waited before are read
from the ledger, since memory knows ids only, and moved between two rounds: taken out of the lane they are in, and put among the others of their instance. A job in a
timer stays there, and goes to its line when its time comes. One to which something happens meanwhile is left alone: it ends, or goes there by itself. From then on
another priority of the same instance moves nothing: its lines follow at once.

Nothing of this is stored but the priorities themselves. A new owner reads them, and brings over what its checkpoint had elsewhere, in the same way.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from headrace_broker.model.job import State
from headrace_broker.shards.lines import Line
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.instances import InstanceStore, WaitingRow
from headrace_broker.store.pool import READ_FAILURES

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

BATCH = 500
KEPT = 1000  # operations that can still be looked at
RETRY_S = 0.5
POLL_S = 0.002

log = structlog.get_logger("headrace.rescore")


@dataclass(slots=True, eq=False)
class Rescore:
    """One change of a priority. `kind`: type or instance; `state`: waiting, reading, moving or done; `total` is known once everything was read."""

    number: int
    domain: str
    kind: str
    name: str
    priority: int
    started_at: datetime
    state: str = "waiting"
    done: int = 0
    total: int = 0
    ended_at: datetime | None = None


class Rescores:
    """The changes of one owner, one after the other."""

    def __init__(self, owner: "Owner", store: InstanceStore) -> None:
        self._owner = owner
        self._store = store
        self._queue: deque[tuple[Rescore, int]] = deque()
        self._wake = asyncio.Event()
        self._last = 0
        self.recent: deque[Rescore] = deque(maxlen=KEPT)

    def instance(self, domain: str, domain_id: int, instance_id: str, priority: int) -> Rescore:
        """The instance has this priority from now on, and its waiting jobs follow."""
        self._owner.lines.boost(domain_id, instance_id, priority)
        self._owner.wake.set()
        operation = self._add(domain, "instance", instance_id, priority)
        self._queue.append((operation, domain_id))
        self._wake.set()
        return operation

    def again(self) -> None:
        """After recovery: jobs that a checkpoint had elsewhere follow."""
        domains = {entry.domain_id: entry.domain for entry in self._owner.types.by_id.values()}
        for (domain_id, instance_id), priority in list(self._owner.lines.boosts.items()):
            if domain_id in domains:
                self.instance(domains[domain_id], domain_id, instance_id, priority)

    def type(self, entry: TypeEntry, waiting: int) -> Rescore:
        """The priority of a type has changed. Lanes are by type, so all its jobs have followed already."""
        operation = self._add(entry.domain, "type", entry.name, entry.settings.priority)
        operation.state, operation.done, operation.total, operation.ended_at = "done", waiting, waiting, operation.started_at
        return operation

    def _add(self, domain: str, kind: str, name: str, priority: int) -> Rescore:
        self._last += 1
        operation = Rescore(self._last, domain, kind, name, priority, self._owner.clock.now())
        self.recent.appendleft(operation)
        return operation

    async def run(self) -> None:
        """Brings jobs over until cancelled. While the database is away it waits."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                operation, domain_id = self._queue[0]
                try:
                    await self._bring(operation, domain_id)
                except READ_FAILURES as error:
                    log.warning("jobs of an instance not read; trying again", instance_id=operation.name, reason=f"{type(error).__name__}: {error}")
                    await asyncio.sleep(RETRY_S)
                    continue
                operation.state, operation.ended_at = "done", self._owner.clock.now()
                self._queue.popleft()

    async def _bring(self, operation: Rescore, domain_id: int) -> None:
        moved: set[int] = set()  # from before the first read on: what is not in it is as it was read
        self._owner.readers.append(moved)
        try:
            await self._bring_unless(moved, operation, domain_id)
        finally:
            self._owner.readers = [other for other in self._owner.readers if other is not moved]  # by identity: the sets of two readers may be equal

    async def _bring_unless(self, moved: set[int], operation: Rescore, domain_id: int) -> None:
        owner = self._owner
        operation.state, operation.done, operation.total = "reading", 0, 0
        await self._durable()
        found: list[WaitingRow] = []
        above = 0
        while True:
            rows, above = await self._store.waiting(operation.name, above)
            if not above:
                break
            found += [row for row in rows if (entry := owner.types.by_id.get(row.type_id)) is not None and entry.domain_id == domain_id]
        operation.state, operation.total = "moving", len(found)
        for start in range(0, len(found), BATCH):
            if (domain_id, operation.name) in owner.lines.boosts:
                bring(owner, operation.name, [row for row in found[start : start + BATCH] if row.job_id not in moved])
            operation.done = min(start + BATCH, len(found))
            owner.wake.set()
            await asyncio.sleep(0)

    async def _durable(self) -> None:
        """Returns once what was decided before is stored, and so can be read."""
        owner = self._owner
        decided = owner.rounds
        while owner.stored < decided:
            owner.wake.set()
            await asyncio.sleep(POLL_S)


def bring(owner: "Owner", instance_id: str, rows: Sequence[WaitingRow]) -> None:
    """Moves jobs that waited, when they were read, to the line of their instance; those that do not wait any more, or are there, stay as they are."""
    lines = owner.lines
    groups: dict[tuple[Line | None, TypeEntry, int], list[int]] = {}
    for row in rows:
        entry, live = owner.types.by_id[row.type_id], owner.live_jobs.get(row.job_id)
        if row.job_id in lines.members or owner.lanes.is_stale(row.job_id) or (live is not None and live.state is not State.WAITING):
            continue
        if live is not None:
            live.instance_id = instance_id
            line, priority = live.line, live.priority
        else:
            line, priority = lines.find(entry, row.terms) if row.terms is not None else None, row.priority
        groups.setdefault((line, entry, priority), []).append(row.job_id)
    for (line, entry, priority), job_ids in groups.items():
        _move(owner, instance_id, line, entry, priority, job_ids)


def _move(owner: "Owner", instance_id: str, line: Line | None, entry: TypeEntry, priority: int, job_ids: list[int]) -> None:
    lines = owner.lines
    terms = lines.boosted(entry, instance_id, line.terms if line is not None else None)
    assert terms is not None
    target = lines.of(entry, terms)
    ready = owner.lanes.remove(entry.type_id, priority, job_ids) if line is None else lines.withdraw(line, priority, job_ids)
    if line is not None and len(ready) < len(job_ids):
        lines.leave_behind(line)
    for job_id in job_ids:  # those that are not ready are in a timer, which finds their line by their id
        lines.members[job_id] = target
        target.jobs += 1
        live = owner.live_jobs.get(job_id)
        if live is not None:
            live.line = target
        if line is not None:
            lines.moved(line, State.WAITING, State.COMPLETED)
    if ready:
        lines.take_over(target, priority, sorted(ready))
