"""Bulk operations, for whoever starts and watches them: what one would do, its start, its progress, its end."""

import asyncio
from dataclasses import dataclass, replace

from headrace_broker.actions.lists import JobCount, JobLists
from headrace_broker.actions.reach import secrets, types_for
from headrace_broker.actions.reads import JobRead, answered
from headrace_broker.actions.search import Search
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import Busy, DatabaseUnavailable, InvalidField, OperationNotFound, TypeDenied
from headrace_broker.model.filter import JobFilter, Order
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.masked_text import masked_text
from headrace_broker.model.operation import Action, Deed, Operation, OperationState, Plan, Skip, check_rate, refuse_empty
from headrace_broker.model.permissions import EVERY, Act
from headrace_broker.model.redaction import masked_labels
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder

ACTS = {
    Action.REQUEUE: Act.REQUEUE, Action.ABORT: Act.ABORT, Action.PURGE: Act.PURGE, Action.PRIORITY: Act.UPDATE, Action.HOLD: Act.UPDATE, Action.RELEASE: Act.UPDATE,
}  # fmt: skip
"""What each deed takes, and `Act.UPDATE` one that gives jobs another payload."""
AT_ONCE = 200
"""Operations of one read: somebody may see few of many."""
POLL_S = 1.0
"""How often whoever waits for an operation looks at it, whether or not it was told of a page."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a deed would be done to, as of `count.as_of_s`. `matched`: jobs that match; `acted_on`: those of them in a state that takes the deed; both exact if
    `complete`, else there are at least so many. `sample`: some that match, newest first."""

    count: JobCount
    complete: bool
    matched: int
    acted_on: int
    sample: list[JobRead]


class Operations:
    """See the module. Every call raises what `Ownership.owner` raises when this broker serves nobody, and DatabaseUnavailable."""

    def __init__(self, ownership: Ownership, reads: Reads, finder: Finder) -> None:
        self._ownership = ownership
        self._reads = reads
        self._finder = finder
        self._store = ownership.operation_store

    async def preview(
        self, domain: str, wanted: JobFilter, deed: Deed, *, all_jobs: bool = False, sample: int = 10, after: tuple[int, ...] = ()
    ) -> Preview:  # fmt: skip
        """Counts and shows what matches, and changes nothing. `after`: `count.next` of an answer that was not complete; the numbers are of what comes from there on.

        Raises:
            InvalidField: the filter is empty, and all jobs were not asked for by name. TypeDenied: the call may do the deed to none of the types.
        """
        refuse_empty(wanted, all_jobs=all_jobs)
        wanted = self._narrowed(domain, wanted, deed)
        lists = self._lists
        count = await lists.count(domain, wanted, after=after)
        jobs = (await lists.page(domain, wanted, order=Order.NEWEST_FIRST, limit=sample)).jobs if sample else []
        return Preview(count, not count.next, _sum(count), _sum(count, deed), jobs)

    async def start(self, wanted: JobFilter, deed: Deed, *, caller: Caller, reason: str, rate: float = 0.0, all_jobs: bool = False, request_id: str = "") -> Operation:
        """Starts an operation in the caller's domain; it is durable when this answers. The same `request_id` (empty: none) again answers with the same operation.

        Jobs that are submitted from now on are never touched, nor are those of types that the call may not do the deed to: the filter is narrowed to the types of the
        domain that it may. Raises InvalidField, TypeDenied (there are none).
        """
        plan = Plan(wanted, deed, reason, rate, all_jobs)
        plan.check()
        most = self._ownership.owner.limits.payload_limit_bytes
        if len(deed.payload or b"") > most:
            raise InvalidField("payload", f"at most {most} bytes by the broker's configuration, found {len(deed.payload or b'')}")
        narrowed = self._narrowed(caller.domain, wanted, deed, Act.OPERATE)
        if narrowed is not wanted:  # it runs by itself, and must know by then what it may touch
            wanted, plan = narrowed, replace(plan, wanted=narrowed, all_jobs=False)
        frozen_id = Search(self._ownership.owner, self._finder).frozen_id()
        expected, complete = await self._expected(caller.domain, wanted)
        operations = self._ownership.operations  # before it is stored: who hears that this broker is no owner would start another one
        try:
            operation = await self._store.add(plan, frozen_id=frozen_id, expected=expected, expected_complete=complete, start_key=request_id, caller=caller)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was started") from error
        operations.wake()
        return operation

    async def get(self, domain: str, operation_id: int, *, wait_s: float = 0.0) -> Operation:
        """An operation as it stands; with `wait_s` once it is not running any more, or after that time. Raises OperationNotFound."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            moved = self._ownership.operations.moved  # taken before it is read, so that no page is missed
            operation = await answered(self._store.find(domain, operation_id))
            if not _seen(operation, Act.OVERSEE):
                raise OperationNotFound(operation_id)
            left_s = until - loop.time()
            if operation.state is not OperationState.RUNNING or left_s <= 0:
                return _shown(operation)
            try:
                async with asyncio.timeout(min(left_s, POLL_S)):
                    await moved.wait()
            except TimeoutError:
                pass

    async def list(self, domain: str, *, below: int | None = None, limit: int = 50) -> list[Operation]:
        """Operations of the domain, newest first; `below`: the last `operation_id` of the page before."""
        _ = self._ownership.owner
        found: builtins_list[Operation] = []
        below = MAX_ID if below is None else below
        while len(found) < limit:
            rows = await answered(self._store.page(domain, below=below, limit=AT_ONCE))
            found += [_shown(operation) for operation in rows if _seen(operation, Act.OVERSEE)]
            if len(rows) < AT_ONCE:
                break
            below = rows[-1].operation_id
        return found[:limit]

    async def skipped(self, domain: str, operation_id: int, *, after: int = 0, limit: int = 100) -> "builtins_list[Skip]":
        """Jobs that were not changed, and why, by id; `after`: the last `job_id` of the page before. Raises OperationNotFound."""
        await self.get(domain, operation_id)
        return await answered(self._store.skips(operation_id, after=after, limit=limit))

    async def set_rate(self, operation_id: int, rate: float, *, caller: Caller, reason: str) -> Operation:
        """Changes how many jobs a second are done, 0: as fast as it goes; from the next page on. Raises as `stop`."""
        check_rate(rate)
        return await self._set(operation_id, "set_rate", rate=rate, caller=caller, reason=reason)

    async def stop(self, operation_id: int, *, caller: Caller, reason: str) -> Operation:
        """Stops an operation; once this answers, nothing more is done until it is resumed. Raises OperationNotFound, InvalidState (it has finished)."""
        return await self._set(operation_id, "stop", state=OperationState.STOPPED, caller=caller, reason=reason)

    async def resume(self, operation_id: int, *, caller: Caller, reason: str) -> Operation:
        """Goes on with a stopped operation where it stopped. Raises as `stop`."""
        return await self._set(operation_id, "resume", state=OperationState.RUNNING, caller=caller, reason=reason)

    async def _set(
        self, operation_id: int, verb: str, *, state: OperationState | None = None, rate: float | None = None, caller: Caller, reason: str
    ) -> Operation:  # fmt: skip
        await self._steered(operation_id, caller.domain)
        try:
            async with self._ownership.operations.at_rest():
                return _shown(await self._store.set(operation_id, verb, state=state, rate=rate, caller=caller, reason=reason))
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error

    async def _steered(self, operation_id: int, domain: str) -> None:
        """Raises OperationNotFound, TypeDenied unless the call may steer the operation: it may do its deed to all that it touches."""
        if all(types_for(act).everything for act in (Act.OVERSEE, Act.OPERATE, *ACTS.values())):
            return
        operation = await answered(self._store.find(domain, operation_id))
        if not _seen(operation, Act.OVERSEE):
            raise OperationNotFound(operation_id)
        for act in (Act.OPERATE, *_acts(operation.plan.deed)):
            if not _seen(operation, act):
                raise TypeDenied(act, ", ".join(operation.plan.wanted.types[:5]) or EVERY)

    def _narrowed(self, domain: str, wanted: JobFilter, deed: Deed, *also: Act) -> JobFilter:
        """The filter with the types, of those that are there, that the call may see and do the deed to; as it is when these are all. Raises TypeDenied for none."""
        acts = (Act.VIEW, *_acts(deed), *also)
        if all(types_for(act).everything for act in acts):
            return wanted
        entries = self._ownership.owner.types.of_domain(domain)
        names = [entry.name for entry in entries if all(types_for(act).allow(entry.name) for act in acts) and (not wanted.types or entry.name in wanted.types)]
        if not names:
            raise TypeDenied(next(act for act in acts if not types_for(act).everything), ", ".join(wanted.types[:5]) or EVERY)
        return replace(wanted, types=tuple(names))

    async def _expected(self, domain: str, wanted: JobFilter) -> tuple[int, bool]:
        """(how many jobs match now, whether that is all), as far as the time of one search goes."""
        try:
            count = await self._lists.count(domain, wanted)
        except Busy:
            return 0, False
        return _sum(count), not count.next

    @property
    def _lists(self) -> JobLists:
        return JobLists(self._ownership.owner, self._reads, self._finder)


builtins_list = list


def _seen(operation: Operation, act: Act) -> bool:
    """Whether the call may do this to every type that the operation touches."""
    types, named = types_for(act), operation.plan.wanted.types
    return types.everything or (bool(named) and all(types.allow(name) for name in named))


def _shown(operation: Operation) -> Operation:
    """The operation as the call may see it: labels of secret names, and what stands behind such names in reasons, masked."""
    wanted, plan = operation.plan.wanted, operation.plan
    secret = [name for kind in wanted.types or [EVERY] for name in secrets(kind)]
    if not secret:
        return operation
    told = replace(wanted, labels=tuple(masked_labels(dict(wanted.labels), secret).items()))
    plan = replace(plan, wanted=told, reason=masked_text(plan.reason, secret))
    return replace(operation, plan=plan, stopped_reason=masked_text(operation.stopped_reason, secret))


def _acts(deed: Deed) -> tuple[Act, ...]:
    return ACTS[deed.action], *([Act.UPDATE] if deed.payload is not None else [])


def _sum(count: JobCount, deed: Deed | None = None) -> int:
    return sum(jobs for by_state in count.types.values() for state, jobs in by_state.items() if deed is None or state in deed.states)
