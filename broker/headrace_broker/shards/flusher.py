"""Group commit: one task that takes what is pending, stores it in one commit, then tells everybody.

Everything that arrives while a commit is in flight rides in the next one. Under load a flush begins at least `GAP_S` after the previous one began: without
that, a busy broker makes many small commits (p99 78 ms against 5 ms, CPU 160 % against 92 % in the measurement that led to it). Twice the gap costs a job 1 ms at
20,000 jobs/s and saves a tenth of the CPU; half of it or none gain nothing. A broker with little to do does not wait: the gap holds only when the last round was large.

Under a load that lasts broker and Postgres would take turns: one decides while the other is idle. So while a large round is being stored the next one is decided, as
soon as enough is pending for it (`Owner.build_ahead`), and sent the moment the answer to the first is there; only then are those told who waited for the first. At most
IN_A_ROW rounds follow each other so: then comes what is done between rounds, when nothing is under way. Changes that came meanwhile join the round before it is sent.

When nothing happens an empty flush each `PROOF_S` proves that the life still owns its shards; heartbeats are confirmed by it, and a standby sees it.

When the answer to a flush is lost, nothing is told to anybody until a new life has found out whether it was stored (`_recover_connection`). The same round is then
told, or stored again: memory stays right either way.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime

import structlog

from headrace_broker.metrics import Metrics
from headrace_broker.model.errors import DatabaseUnavailable, NotOwner, ResultUnknown
from headrace_broker.shards import sweep
from headrace_broker.shards.checkpoint import Checkpoints
from headrace_broker.shards.health import FlushHealth
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.round import KeyedRound, Round
from headrace_broker.shards.schedules import FireRound
from headrace_broker.store import ledger as store
from headrace_broker.store.batch import UniqueName
from headrace_broker.store.ledger import Flushed, KeyHolder, Ledger
from headrace_broker.store.pool import ANY_FAILURE

AnyRound = Round | KeyedRound | FireRound
GAP_S = 0.001
BUSY_ROWS = 16  # facts in a round from which on the broker counts as busy
IN_A_ROW = 8
LOOK_S = 0.001  # how often it is asked whether enough is pending
PROOF_S = 1.0
BASE_COUNTS_S = 60.0
FIRST_BASE_S = 1.0  # after a takeover: later than the first grants, which wait for nothing that is not needed
CLOCK_S = 60.0
PREPARE_S = 2.0  # for writing down, before the end, what a successor reads
PREPARED_FOR_S = 5.0  # so much later it is to be written anew
LAST_CHECKPOINT_S = 5.0
PATIENCE_S = 1.0  # a connection that is lost is replaced within some 30 ms: new work waits that long before it is refused
UNKNOWN_AFTER_S = 5.0  # callers wait this long for a lost answer, then are told that it is unknown
REPEAT_S = 0.2
BLOCKED_TWICE = 2

UNKNOWN = ResultUnknown("the connection to the database broke in the middle of a commit; it may have been stored: ask again with the same key")

log = structlog.get_logger("headrace.flusher")


class Flusher:
    """Owns the ledger's connection. `succeed` opens a new life that has taken over from the given dead one, or raises Fenced; `make_partitions` makes those for ids of
    now, or raises what asyncpg raises.
    """

    def __init__(
        self, owner: Owner, ledger: Ledger, succeed: Callable[[Ledger], Awaitable[Ledger]], checkpoints: Checkpoints, metrics: Metrics, health: FlushHealth,
        *, make_partitions: Callable[[], Awaitable[object]],
    ) -> None:  # fmt: skip
        self._owner = owner
        self._health = health
        self.ledger = ledger
        ledger.on_lost = owner.wake.set  # an idle flusher finds out at once, and not with the next job
        self._succeed = succeed
        self._make_partitions = make_partitions
        self._metrics = metrics
        self._started = 0.0  # of the newest flush
        self._busy = False
        self._next_base = 0.0
        self._heir = 0  # life that has taken over the counts of those before it
        self._next_clock = 0.0
        self._checkpoints = checkpoints
        checkpoints.on_written = owner.wake.set
        self._prepared_at = -math.inf
        self._stopping = False
        self._unanswered: list[AnyRound] = []  # what waits to be stored, and has callers who wait for that
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        """Flushes until `stop`.

        Raises:
            Fenced: another broker owns the shards. KeyTaken: somebody else wrote facts of these shards. Unstorable: a round holds what nothing can store.
            The owner must be thrown away after any of them.
        """
        loop = asyncio.get_running_loop()
        self._next_base = loop.time() + FIRST_BASE_S
        while not self._stopping or self._owner.has_intents:
            await self._pause(loop)
            await self._open_ids()
            self._started = loop.time()
            locked = await self._lock_contested(loop.time())
            await self._store_rounds(self._owner.build(grant=not self._stopping), in_a_row=1 if locked else IN_A_ROW)
            await self._unlock(locked)
            await self._open_ids()  # each of these may have taken days
            keyed = self._owner.keyed.build()
            if keyed is not None:
                with self._answering(keyed):
                    self._owner.keyed.settle(keyed, *await self._store_and_look(keyed))
            await self._open_ids()
            fires = self._owner.schedules.build() if not self._stopping else None
            if fires is not None:
                with self._answering(fires):
                    self._owner.schedules.settle(fires, *await self._fire(fires))
            silent = loop.call_later(UNKNOWN_AFTER_S, self._silent)
            try:
                await self._housekeeping(loop.time())
            finally:
                silent.cancel()
        if loop.time() - self._prepared_at > PREPARED_FOR_S:
            await self._base_counts()
            await self._last_checkpoint(loop)
        self.stopped.set()

    async def prepare(self) -> None:
        """Before `stop`, while everything goes on: writes down what a successor reads, so that nobody waits for that later. What takes too long is left to `stop`."""
        now = self._next_base = asyncio.get_running_loop().time()
        self._owner.wake.set()
        try:
            async with asyncio.timeout(PREPARE_S):
                await self._checkpoints.renew(now)
        except TimeoutError:
            log.warning("no checkpoint before the end: it takes too long")
            return
        self._prepared_at = now

    def stop(self) -> None:
        """Stores what is pending, grants nothing more, and ends `run`."""
        self._stopping = True
        self._owner.wake.set()

    async def _pause(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until there is something to do, or a proof is due; never sooner than the gap allows."""
        owner = self._owner
        if not owner.has_intents and not owner.wake.is_set():
            left = min(PROOF_S - (loop.time() - self._started), owner.idle_s())
            try:
                async with asyncio.timeout(max(0.0, left)):
                    await owner.wake.wait()
            except TimeoutError:
                pass
        owner.wake.clear()
        gap = self._started + GAP_S - loop.time() if self._busy else 0.0
        if gap > 0:
            await asyncio.sleep(gap)
        else:
            await asyncio.sleep(0)  # what is ready to be read joins this round

    async def _open_ids(self) -> None:
        """Returns once jobs of now have partitions. They are made ahead, but the clock may have left those behind: then everything waits until there are others."""
        while self._owner.numbering.closed:
            silent = asyncio.get_running_loop().call_later(UNKNOWN_AFTER_S, self._silent)
            try:
                await self._make_partitions()
            except ANY_FAILURE as error:
                log.error("no partitions for new jobs", reason=f"{type(error).__name__}: {error}")
                self._owner.refuse(DatabaseUnavailable(f"there are no partitions for new jobs, and they cannot be made; nothing was stored, try again: {error}"))
                await asyncio.sleep(REPEAT_S)
            finally:
                silent.cancel()

    async def _lock_contested(self, now: float) -> "tuple[Ledger, set[int]] | None":
        """Takes the locks of jobs whose leases are to end although somebody's transaction may complete them: only those whose lock is free end in this round."""
        asked = self._owner.contested(now)
        if not asked:
            return None
        try:
            locked, ended = await self.ledger.lock_jobs(asked)
        except (store.ResultUnknown, store.NothingStored) as error:  # the next flush meets the same trouble and deals with it
            log.warning("locks of jobs not taken", reason=str(error))
            self.ledger.abandon()  # some may have been: they fall with the connection, and with nothing else
            locked, ended = set(), set()
        self._owner.doors.decided(self._owner, asked, locked, ended, now)
        return self.ledger, locked

    async def _unlock(self, locked: "tuple[Ledger, set[int]] | None") -> None:
        """The endings are durable. A connection that was lost has lost its locks."""
        if locked is None or locked[0] is not self.ledger or not locked[1]:
            return
        try:
            await self.ledger.unlock_jobs(locked[1])
        except (store.ResultUnknown, store.NothingStored) as error:
            log.warning("locks of jobs not given back", reason=str(error))
            self.ledger.abandon()

    async def _store_rounds(self, round_: Round, in_a_row: int) -> None:
        """Stores a round, and those that are decided while the one before is under way; returns when nothing is."""
        with self._answering(round_):
            if in_a_row == 1 or not self._owner.takes_long(round_):  # no task of its own, which would cost it a turn of the event loop before and after
                self._note_start(round_)
                await self._store(round_)
                self._settle(round_)
                return
            storing = self._begin(round_)
            try:
                for _ in range(in_a_row - 1):
                    ahead = await self._decide_ahead(round_, storing)
                    await storing
                    if ahead is None:
                        break
                    before, round_ = round_, ahead
                    if joined := self._owner.has_changes:  # which is rare, and they wait for nothing that was decided before they came
                        self._settle(before)
                        self._owner.add_changes(round_)
                    storing = self._begin(round_)
                    await asyncio.sleep(0)  # it is on its way before anybody is told of the one before
                    if not joined:
                        self._settle(before)
                await storing
                self._settle(round_)
            finally:
                if not storing.done():  # this task was cancelled
                    storing.cancel()
                    await asyncio.wait([storing])

    def _begin(self, round_: Round) -> "asyncio.Task[None]":
        self._note_start(round_)
        return asyncio.create_task(self._store(round_))

    def _note_start(self, round_: Round) -> None:
        self._started = asyncio.get_running_loop().time()
        self._busy = round_.batch.rows() > BUSY_ROWS

    def _settle(self, round_: Round) -> None:
        self._owner.settle(round_)
        self._unanswered.remove(round_)

    async def _decide_ahead(self, round_: Round, storing: "asyncio.Task[None]") -> Round | None:
        """The next round, decided before the one that is under way is stored; None: that was stored before enough was pending."""
        if not self._owner.takes_long(round_):
            return None
        while True:
            await asyncio.wait([storing], timeout=LOOK_S)
            if storing.done() or self._stopping or self._owner.refusing:  # asked after the wait: nothing is granted any more from then on
                return None
            if (ahead := self._owner.build_ahead()) is not None:
                self._unanswered.append(ahead)
                self.ledger.pack(ahead.batch)
                return ahead

    async def _store(self, round_: Round) -> None:
        with self._metrics.flush_seconds.time():
            await self._send_until_stored(round_, lambda ledger: ledger.flush(round_.batch))

    async def _fire(self, round_: FireRound) -> tuple[str | None, frozenset[int]]:
        """Decides ticks: (what became of each, nothing); when the answer was lost, (None, which of their jobs are stored)."""
        flushed = await self._send_until_stored(round_, lambda ledger: ledger.flush_fires(round_.batch, round_.rows))
        if flushed is not None:
            return flushed.fired, frozenset()
        while True:
            try:
                return None, await self.ledger.stored(round_.batch.job_id)
            except store.ResultUnknown:
                await self._recover_connection()

    async def _store_and_look(self, round_: KeyedRound) -> tuple[Flushed, dict[UniqueName, KeyHolder], dict[UniqueName, int]]:
        """Stores a keyed round; which of its jobs are stored, and who holds the idempotency and unique keys of the others."""
        flushed = await self._send_until_stored(round_, lambda ledger: ledger.flush_keyed(round_.batch, round_.rows()))
        while True:
            try:
                if flushed is None:  # stored, but the answer was lost
                    flushed = Flushed(self._owner.clock.now(), await self.ledger.stored(round_.batch.job_id))
                refused = round_.refused(flushed.stored)
                keys, unique = [job.key_name for job in (*refused, *round_.closed) if job.key], [job.unique_name for job in refused if job.unique_key]
                return flushed, await self.ledger.key_holders(keys) if keys else {}, await self.ledger.unique_holders(unique) if unique else {}
            except store.ResultUnknown:
                await self._recover_connection()

    @contextlib.contextmanager
    def _answering(self, round_: AnyRound) -> Iterator[None]:
        """For the time in which a round, and those that follow it, are stored: whatever else happens, nobody is left waiting for them."""
        self._unanswered.append(round_)
        try:
            yield
        except BaseException as error:
            stored_nothing = isinstance(error, (store.Fenced, store.Unstorable))
            self._give_up(NotOwner("this broker no longer owns the queue; nothing was stored, ask another one") if stored_nothing else UNKNOWN)
            raise
        finally:
            self._unanswered.clear()

    def _give_up(self, error: Exception) -> None:
        """Tells callers who wait for what is not stored that they will not get an answer."""
        for round_ in self._unanswered:
            _give_up(round_, error)

    async def _send_until_stored(self, round_: AnyRound, send: Callable[[Ledger], Awaitable[Flushed]]) -> Flushed | None:
        """Sends until it is stored; None: it was stored, but the answer was lost."""
        blocked, time = 0, asyncio.get_running_loop().time
        began = time()
        self._health.begin(began)
        while True:
            try:
                flushed = await self._send(send)
                self._health.stored(time())
                if self._owner.refusing is not None:
                    self._owner.accept_work()
                self._checkpoints.flushed(flushed.at, changed=round_.batch.rows() > 0)
                return flushed
            except (store.KeyTaken, store.Unstorable):
                raise
            except store.Blocked as error:
                blocked += 1
                log.error("flush blocked by somebody else's transaction", error=str(error))
                if blocked == BLOCKED_TWICE:  # an ending that nobody announced: after reading the ledger again all endings of open leases are asked for
                    raise store.KeyTaken(f"uncommitted facts of somebody else are in the way: {error}") from error
            except store.NothingStored as error:
                self._health.failed(time(), str(error))
                log.error("flush refused", error=str(error))
                self._owner.refuse(DatabaseUnavailable(f"the database refuses to store facts: {error}"))
                if time() - began > UNKNOWN_AFTER_S:
                    self._give_up(ResultUnknown(f"the database refuses to store facts for now, and may store this one later: {error}; ask again with the same key"))
                await asyncio.sleep(REPEAT_S)
            except store.ResultUnknown as error:
                self._health.failed(time(), str(error))
                log.warning("answer to a flush lost", error=str(error), life_id=self.ledger.life_id, n=self.ledger.n)
                if await self._recover_connection():
                    self._health.stored(time())
                    return None

    async def _send(self, send: Callable[[Ledger], Awaitable[Flushed]]) -> Flushed:
        """Sends once and waits for the answer, however long it takes; callers do not: another broker may have taken over from one that gets no answers."""
        overdue = asyncio.get_running_loop().call_later(UNKNOWN_AFTER_S, self._overdue)
        try:
            return await send(self.ledger)
        finally:
            overdue.cancel()

    def _overdue(self) -> None:
        self._silent()
        self._give_up(UNKNOWN)

    def _silent(self) -> None:
        """The database has not answered for too long: what waits is refused, and may go to another broker."""
        log.warning("the database does not answer", life_id=self.ledger.life_id, n=self.ledger.n)
        if self._owner.refusing is None:
            self._owner.refuse(DatabaseUnavailable("the database does not answer; nothing was stored, try again"))

    async def _recover_connection(self) -> bool:
        """Opens a new life after the connection was lost; returns whether the newest flush of the old one was stored."""
        owner, old, loop = self._owner, self.ledger, asyncio.get_running_loop()
        refusing = loop.call_later(PATIENCE_S, owner.refuse, DatabaseUnavailable("the database cannot be reached; nothing was stored, try again"))
        giving_up = loop.call_later(UNKNOWN_AFTER_S, self._give_up, UNKNOWN)
        try:
            await self._begin_life(old)
        finally:
            refusing.cancel()
            giving_up.cancel()
        self._next_clock = 0.0
        landed = await self._ask(old)
        owner.accept_work()
        if landed is not None:
            self._checkpoints.flushed(landed, changed=True)
        log.warning("database is back", life_id=self.ledger.life_id, landed=landed is not None)
        return landed is not None

    async def _ask(self, old: Ledger) -> datetime | None:
        """When the newest flush of an old life was stored, if it was. A connection that breaks before it can tell is followed by another, which asks the same."""
        while True:
            try:
                return await self.ledger.landed(old.life_id, old.n)
            except store.ResultUnknown:
                await self._begin_life(self.ledger)

    async def _begin_life(self, dead: Ledger) -> None:
        """Takes over from a life of this broker whose connection is lost.

        Raises:
            Fenced: another broker was faster. What became of the newest flush nobody here will know, and its callers have been told so: not that nothing was stored.
        """
        dead.abandon()
        try:
            self.ledger = await self._succeed(dead)
        except BaseException:
            self._give_up(UNKNOWN)
            raise
        self.ledger.on_lost = self._owner.wake.set
        self._owner.life_id = self.ledger.life_id

    async def _housekeeping(self, now: float) -> None:
        if now >= self._next_clock:
            self._next_clock = now + CLOCK_S
            await self._set_clock()
        if now >= self._next_base:
            self._next_base = now + BASE_COUNTS_S
            sweep.forget_expired_counts(self._owner)
            await self._base_counts()
        await self._publish_checkpoint()
        self._checkpoints.take_if_due(self._owner, self.ledger, now)

    async def _publish_checkpoint(self) -> None:
        try:
            await self._checkpoints.publish(self.ledger)
        except (store.ResultUnknown, store.NothingStored) as error:  # the next flush meets the same trouble and deals with it
            log.warning("checkpoint not published", reason=str(error))

    async def _last_checkpoint(self, loop: asyncio.AbstractEventLoop) -> None:
        """At the end of a gentle stop, so that the next broker begins at once."""
        try:
            async with asyncio.timeout(LAST_CHECKPOINT_S):
                await self._checkpoints.write_last(self._owner, self.ledger, loop.time())
        except TimeoutError:
            log.warning("the last checkpoint took too long; recovery will read more")
        await self._publish_checkpoint()

    async def _set_clock(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        try:
            database_s = await self.ledger.database_time()
        except (store.ResultUnknown, store.NothingStored):
            return  # the next flush meets the same trouble and deals with it
        step = self._owner.clock.set(database_s, before, loop.time())
        if abs(step) > 5:
            log.error("the database's clock was stepped", step_s=round(step, 3))

    async def _base_counts(self) -> None:
        life_id = self.ledger.life_id
        absorb = life_id != self._heir  # lives that are over flush no more: once is enough, however many there were
        try:
            await self.ledger.base_counts(dict(self._owner.counted), self._owner.numbering.newest, absorb=absorb, floor=self._checkpoints.floor)
            self._heir = life_id
        except (store.ResultUnknown, store.NothingStored) as error:
            log.warning("counts not based", error=str(error))


def _give_up(round_: AnyRound, error: Exception) -> None:
    """Tells callers who wait for the round that they will not get an answer."""
    futures: list[asyncio.Future[object]] = []
    if isinstance(round_, Round):
        round_.give_up(error)
    elif isinstance(round_, FireRound):
        futures += [run.done for run in round_.runs]  # type: ignore[misc]  # futures of any result
    else:
        futures += [job.done for job in (*round_.jobs, *round_.closed, *(follower for _, follower in round_.followers))]  # type: ignore[misc]
    for future in futures:
        if not future.done():
            future.set_exception(error)
