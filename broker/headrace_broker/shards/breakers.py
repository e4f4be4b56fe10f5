"""Breakers of job types at their owner: `model/breaker.py` is what one does, this is where its outcomes come from, what it holds back, and how it outlives the owner.

- Outcomes are told when their round is durable (`Tally`), once for all that one agent reported of a type. A type without a breaker has None there, and costs that look.
- A breaker that is not closed makes its type one of those with limits (`TypeEntry.limited`): `Caps.room` asks it, and what is held back is looked at no further.
- A canary is what is granted while the breaker is half-open; it stays one until its attempt ends, however that does.

**Who dies, and what is then true.** The row of a breaker says what the next owner must know: open or half-open, since when, until when, how often in a row.
Windows are not stored: after a takeover they begin empty.

- open, closed: memory goes first, the row follows at once. If the owner dies between, the next one finds it closed, and counts anew; or half-open, and tries one more.
- half-open: the row goes first, so that no canary is granted before the next owner would know of it: those that were granted since the row says so are its canaries too.

Rows are written by one task, and by calls that close a breaker, one at a time, each under the owner's life: an owner that was succeeded writes nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from headrace_broker.model.audit import Caller
from headrace_broker.model.breaker import Breaker, Phase, Rule
from headrace_broker.model.errors import DatabaseUnavailable, NotOwner, ResultUnknown
from headrace_broker.model.job import Kind, State
from headrace_broker.store.breakers import BreakerStore, StoredBreaker
from headrace_broker.store.pool import ANY_FAILURE, READ_FAILURES

if TYPE_CHECKING:
    from headrace_broker.shards.live import Live
    from headrace_broker.shards.owner import Owner
    from headrace_broker.shards.types import TypeEntry

PASS_S = 0.25
"""How often settings, and breakers whose wait is over, are looked at."""
AGAIN_S = 0.5
ANY = 1 << 30
FAILURES = frozenset({Kind.FAILED, Kind.TIMED_OUT})
"""What counts as a failure: what the handler did, or did not do in its time. A lost lease tells of its agent: hundreds are lost together when one dies or is replaced."""

log = structlog.get_logger("headrace.breakers")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a breaker stands, to be shown. `since_s`, `until_s`: seconds since 1970; None: it is closed, or not open. `running`, `completed`: canaries.

    `openings`: since this owner began.
    """

    phase: Phase
    since_s: float | None
    until_s: float | None
    step: int
    ended: int
    failed: int
    running: int
    completed: int
    openings: int


class Guard:
    """The breaker of one type at its owner. `running`: canaries; `opened_at_s`: since when it is not closed, database clock.

    Written by the flusher's task, and by `Breakers`.
    """

    __slots__ = ("_breakers", "entry", "machine", "opened_at_s", "running")

    def __init__(self, breakers: "Breakers", entry: "TypeEntry", rule: Rule) -> None:
        self._breakers = breakers
        self.entry = entry
        self.machine = Breaker(rule)
        self.running: set[int] = set()
        self.opened_at_s = 0.0

    @property
    def holds(self) -> bool:
        """Whether it is not closed."""
        return self.machine.phase is not Phase.CLOSED

    @property
    def room(self) -> int:
        """How many jobs may be granted now; not more than 0: none."""
        if self.machine.phase is Phase.CLOSED:
            return ANY
        return self.machine.rule.at_once - len(self.running) if self.machine.phase is Phase.HALF_OPEN else 0

    def granted(self, job_ids: Iterable[int]) -> None:
        """Jobs were granted: canaries, while it is half-open."""
        if self.machine.phase is Phase.HALF_OPEN:
            self.running.update(job_ids)

    def ended(self, lives: "Sequence[Live]", kind: Kind) -> None:
        """Jobs of the type were moved by events of one kind, and that is durable."""
        failed = kind in FAILURES
        told = failed or kind is Kind.COMPLETED
        if self.machine.phase is Phase.CLOSED:
            if told and self.machine.attempts(self._breakers.now(), 0 if failed else len(lives), len(lives) if failed else 0):
                self._breakers.moved(self)
            return
        for live in lives:
            if live.job_id in self.running:
                self.running.discard(live.job_id)
                self._breakers.grant_again()
                if told and self.machine.canary(self._breakers.now(), completed=not failed):
                    self._breakers.moved(self)


class Breakers:
    """Those of one owner. `openings`: by type id, since it began."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self.openings: Counter[int] = Counter()
        self._guards: dict[int, Guard] = {}  # by type id
        self._unstored: set[int] = set()  # types whose row is not as memory has it
        self._wake = asyncio.Event()
        self._storing = asyncio.Lock()

    # Decisions ---------------------------------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The owner's monotonic clock, in seconds."""
        return self._owner.now()

    def moved(self, guard: Guard) -> None:
        """A breaker has opened or closed."""
        machine, entry = guard.machine, guard.entry
        if machine.phase is Phase.OPEN:
            if machine.step == 1:
                guard.opened_at_s = self._owner.clock.now_s()
            self.openings[entry.type_id] += 1
            log.warning(
                "a breaker has opened", domain=entry.domain, type=entry.name, failed=machine.failed, ended=machine.ended, step=machine.step,
                open_s=round(machine.rule.wait_s(machine.step), 1),
            )  # fmt: skip
        else:
            guard.running.clear()
            log.info("a breaker has closed", domain=entry.domain, type=entry.name)
        entry.derive()
        self._unstored.add(entry.type_id)
        self._wake.set()
        self.grant_again()

    def grant_again(self) -> None:
        """Something may be granted that was not."""
        self._owner.wake.set()

    def review(self) -> None:
        """Takes over what the settings say now: to be called when they may have changed."""
        owner = self._owner
        wanted = {entry.type_id: entry for entry in owner.types.breaking if owner.shard.holds(entry.domain_id)}
        for type_id in [type_id for type_id in self._guards if type_id not in wanted]:
            guard = self._guards.pop(type_id)
            self._let_go(guard)
            if guard.holds:
                self._unstored.add(type_id)
                self._wake.set()
                self.grant_again()
        for entry in wanted.values():
            rule, known = Rule.of(entry.settings), self._guards.get(entry.type_id)
            if rule is not None and known is None:
                entry.breaker = self._guards[entry.type_id] = Guard(self, entry, rule)
                entry.derive()
            elif rule is not None and known is not None and known.machine.rule != rule:
                known.machine.set_rule(rule)
                self.grant_again()

    def leave(self) -> None:
        """This owner serves no more: the types are free for the next one."""
        for guard in self._guards.values():
            self._let_go(guard)

    @staticmethod
    def _let_go(guard: Guard) -> None:
        if guard.entry.breaker is guard:
            guard.entry.breaker = None
            guard.entry.derive()

    # Reads -------------------------------------------------------------------------------------------------------------------------------------

    def guards(self) -> Iterable[Guard]:
        """All of them."""
        return self._guards.values()

    def held(self) -> list[Guard]:
        """Those that are not closed."""
        return [guard for guard in self._guards.values() if guard.holds]

    def standing(self, entry: "TypeEntry") -> Standing | None:
        """How the breaker of a type stands; None: it has none."""
        guard = self._guards.get(entry.type_id)
        if guard is None:
            return None
        machine, now = guard.machine, self.now()
        ended, failed = machine.totals(now)
        return Standing(
            machine.phase, guard.opened_at_s if guard.holds else None, self._owner.clock.now_s() + max(0.0, machine.until - now) if machine.phase is Phase.OPEN else None,
            machine.step, ended, failed, len(guard.running), machine.passed, self.openings[entry.type_id],
        )  # fmt: skip

    # Beside the flushes ------------------------------------------------------------------------------------------------------------------------

    async def load(self, store: BreakerStore) -> None:
        """Reads how they stand, before the owner serves and after it knows which leases are open. Raises what asyncpg raises."""
        self.review()
        for row in await store.all():
            guard = self._guards.get(row.type_id)
            if guard is None:  # it was switched off meanwhile
                self._unstored.add(row.type_id)
                continue
            await self._restore(store, guard, row)

    async def _restore(self, store: BreakerStore, guard: Guard, row: StoredBreaker) -> None:
        left_s = min(max(0.0, row.left_s), guard.machine.rule.wait_s(row.step))  # the database's clock may have been set back
        guard.machine.restore(row.phase, step=row.step, until=self.now() + left_s, ended=row.ended, failed=row.failed)
        guard.opened_at_s = row.opened_at.timestamp()
        if row.phase is Phase.HALF_OPEN:
            leases = [(live.job_id, live.seq) for live in self._owner.live_jobs.values() if live.entry is guard.entry and live.state is State.PROCESSING]
            guard.running = await store.granted_since(leases, row.changed_at) if leases else set()
        guard.entry.derive()

    async def run(self, store: BreakerStore) -> None:
        """Stores what moves, and lets canaries go whose time has come, until cancelled. While the database is away it waits: nothing is granted then."""
        while True:
            try:
                async with asyncio.timeout(PASS_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            self.review()
            try:
                await self.run_once(store)
            except ANY_FAILURE as error:
                log.warning("breakers not stored; trying again", reason=f"{type(error).__name__}: {error}")
                await asyncio.sleep(AGAIN_S)

    async def run_once(self, store: BreakerStore) -> None:
        """One pass."""
        if not self._guards and not self._unstored:
            return
        async with self._storing:
            for type_id in sorted(self._unstored):
                await self._store(store, type_id)
            for guard in self.held():
                if guard.machine.phase is Phase.OPEN and guard.machine.until <= self.now():
                    await self._let_canaries_go(store, guard)

    async def _store(self, store: BreakerStore, type_id: int) -> None:
        guard, life_id = self._guards.get(type_id), self._owner.life_id
        version = guard.machine.version if guard is not None else 0
        if guard is None or not guard.holds:
            stored = await store.drop(life_id, type_id)
        else:
            stored = await self._put(store, guard, guard.machine.phase)
        if stored and self._guards.get(type_id) is guard and (guard is None or guard.machine.version == version):
            self._unstored.discard(type_id)

    async def _put(self, store: BreakerStore, guard: Guard, phase: Phase) -> bool:
        machine = guard.machine
        left_s = max(0.0, machine.until - self.now())
        return await store.put(
            self._owner.life_id, guard.entry.type_id, phase, step=machine.step, left_s=left_s, ended=machine.ended, failed=machine.failed
        )  # fmt: skip

    async def _let_canaries_go(self, store: BreakerStore, guard: Guard) -> None:
        """The row goes first: see the module."""
        if guard.entry.type_id in self._unstored or not await self._put(store, guard, Phase.HALF_OPEN):
            return
        if self._guards.get(guard.entry.type_id) is guard:
            guard.machine.half_open()
            log.info("a breaker lets canaries go", domain=guard.entry.domain, type=guard.entry.name, step=guard.machine.step)
            self.grant_again()

    async def close(self, store: BreakerStore, entry: "TypeEntry", *, caller: Caller, reason: str) -> bool:
        """Closes one by hand, with a row in the audit; in force when this returns. Returns whether it was not closed.

        Raises:
            NotOwner: another broker owns the type. DatabaseUnavailable. Nothing was changed. ResultUnknown: it cannot be told whether the row of the audit is stored.
        """
        async with self._storing:
            guard = self._guards.get(entry.type_id)
            if guard is None or not guard.holds:
                return False
            machine = guard.machine
            before = {"phase": machine.phase.value, "step": machine.step, "ended": machine.ended, "failed": machine.failed}
            try:
                if entry.type_id in self._unstored:  # so that there is a row, and one that is gone tells that it was closed
                    await self._store(store, entry.type_id)
                if not await store.close(self._owner.life_id, entry.type_id, entry.name, before=before, caller=caller, reason=reason):
                    raise NotOwner("this broker no longer owns the queue; nothing was changed, ask another one")
            except READ_FAILURES as error:
                raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error
            except ResultUnknown:
                if not await self._is_gone(store, entry.type_id):
                    self._unstored.add(entry.type_id)
                    self._wake.set()
                    raise
            machine.close()
            self.moved(guard)
            return True

    @staticmethod
    async def _is_gone(store: BreakerStore, type_id: int) -> bool:
        """Whether the row is known not to be there any more, after a commit that was not answered."""
        try:
            return all(row.type_id != type_id for row in await store.all())
        except READ_FAILURES:
            return False

    def shift(self, seconds: float) -> None:
        """For tests: waits are over so much earlier."""
        for guard in self._guards.values():
            guard.machine.until -= seconds
