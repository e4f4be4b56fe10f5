"""Who owns a shard: a broker's way from standing by to serving, and back.

    starting -> standby -> active -> (fenced: starting again)

A broker opens a life and waits until its shard can be taken: because it never had an owner, because its owner's lock is free (it died), or because its owner has
stored nothing for `HUNG_S` (it hangs: its backend is ended, which frees the lock). Then it reads the ledger, proving every second that it lives, and serves. When a
flush is fenced, or facts turn up that it did not write, it forgets everything and begins again. A broker has one of these for each shard (`ownerships.py`).

An error that nobody expected, in whatever an owner does, is treated in the same way: memory may be half changed, so it is thrown away, no checkpoint is made of it, the
life ends and the streams are told. The shard is then left to others for a while (`stumbles.py`), which do not give it back for another while, and to nobody where this
broker is alone. The process goes on with its other shards. It ends only for what it cannot get over by reading anew: a schema, or a number of shards, that it was not
started for.
"""

import asyncio
import contextlib
import functools
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from headrace_broker.metrics import Metrics
from headrace_broker.model.errors import DatabaseUnavailable, Draining, NotOwner
from headrace_broker.model.ids import DEFAULT_CLASS, created_at_s
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.shards.checkpoint import Checkpoints
from headrace_broker.shards.clock import DatabaseClock
from headrace_broker.shards.doors import Reader, take_inbox
from headrace_broker.shards.flusher import PROOF_S, Flusher
from headrace_broker.shards.health import FlushHealth
from headrace_broker.shards.operations import FindIds, Operations
from headrace_broker.shards.owner import Owner, OwnerLimits
from headrace_broker.shards.recover import recover
from headrace_broker.shards.refill import judge_stale, refill_bodies
from headrace_broker.shards.rescore import Rescores
from headrace_broker.shards.standings import read_standings
from headrace_broker.shards.starting import Starting
from headrace_broker.shards.stumbles import Stumbles
from headrace_broker.shards.types import TypeTable
from headrace_broker.store import partitions
from headrace_broker.store.batch import Batch
from headrace_broker.store.breakers import BreakerStore
from headrace_broker.store.checkpoints import CheckpointStore
from headrace_broker.store.database import Database
from headrace_broker.store.heads import Heads
from headrace_broker.store.inbox import Inbox, listen
from headrace_broker.store.instances import InstanceStore
from headrace_broker.store.ledger import FactsLost, Fenced, Holder, KeyTaken, Ledger, NothingStored, ResultUnknown, Unstorable
from headrace_broker.store.migrate import MigrationError
from headrace_broker.store.operations import OperationStore
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.peers import Peer, PeerStore
from headrace_broker.store.pool import ANY_FAILURE
from headrace_broker.store.recovery import Recovery
from headrace_broker.store.schedules import ScheduleStore

STANDBY_POLL_S = 0.25
HUNG_S = 5.0
LOOK_S = 1.0
"""For so long one look at the owner counts, at most: a process that was stopped for a minute has not watched it meanwhile, and both may have been."""
RECONNECT_S = (0.05, 1.0)  # first and longest wait between tries
RANGES_S = 5.0  # how often missing partitions are looked for

log = structlog.get_logger("headrace.ownership")


class Ownership:
    """Runs one broker's lives in one shard. `run` serves until `drain`; `ready` is set while this broker owns the shard. `broker`: an id of the process."""

    def __init__(
        self, *, dsn: str | Database, pool: "asyncpg.Pool[Any]", types: TypeTable, limits: OwnerLimits, metrics: Metrics, address: str, version: str,
        shard: Shard = ONLY, broker: str = "",
    ) -> None:  # fmt: skip
        self.shard = shard
        self.broker = broker
        self._dsn = Database.of(dsn)
        self._pool = pool
        self._types = types
        self._peers = PeerStore(pool)
        self.schedules = ScheduleStore(pool, shard)
        self._limits = limits
        self._metrics = metrics
        self._address = address
        self._version = version
        self.peer: Peer | None = None
        """How other brokers reach this one; to be set before `run`."""
        self.holder: Holder | None = None
        """While this broker stands by: who owns the shard, as far as it knows; None: nobody does, or this broker is about to."""
        self.changed = asyncio.Event()
        """Set, and replaced, whenever `role` or `holder` is another."""
        self._owner: Owner | None = None
        self._flusher: Flusher | None = None
        self.health = FlushHealth()
        self._stumbles = Stumbles()
        self._draining = False
        self.heads = Heads(pool)
        self.inbox = Inbox(pool, shard)
        self.reader: Reader | None = None  # None: nothing is taken from the SQL doors
        self.instances = InstanceStore(pool, shard)
        self.breaker_store = BreakerStore(pool, shard)
        self._rescores: Rescores | None = None
        self.operation_store = OperationStore(pool, shard)
        self.take_delay: Callable[[], Awaitable[float]] | None = None
        """How long others may take a shard that has become free before this broker does, in seconds; None: nobody is waited for, since there is one shard."""
        self.say_avoided: Callable[[], Awaitable[object]] | None = None
        """Tells others that this broker is not to be given the shard for a while, before it stands by again; None: nobody gives it away."""
        self.find_ids: Callable[[Owner], FindIds] | None = None  # how an owner's jobs are searched; None: no bulk operations are run
        self._operations: Operations | None = None
        self.testing = False  # the clock may be set forward
        self.role = "starting"
        self.listening = asyncio.Event()  # standing by or active: the role is known
        self.ready = asyncio.Event()
        self.left = asyncio.Event()  # set when the owner that serves now serves no more; another one has another event

    @property
    def owner(self) -> Owner:
        """The owner that serves now.

        Raises:
            Draining, NotOwner, DatabaseUnavailable: there is none, and why.
        """
        if self._owner is not None:
            return self._owner
        if self._draining:
            raise Draining("this broker is shutting down; ask another one, or again later")
        if self.role == "standby":
            raise NotOwner("this broker stands by while another one owns the queue; ask that one")
        raise DatabaseUnavailable("this broker is not ready: it waits for its database; nothing was stored, try again")

    @property
    def rescores(self) -> Rescores:
        """Changes of priorities at the owner that serves now. Raises as `owner` does."""
        rescores, _ = self._rescores, self.owner
        assert rescores is not None  # there is an owner
        return rescores

    @property
    def operations(self) -> Operations:
        """Bulk operations at the owner that serves now. Raises as `owner` does."""
        operations, _ = self._operations, self.owner
        assert operations is not None  # there is an owner
        return operations

    async def run(self) -> None:
        """Stands by, takes over, serves; again after every life. Returns after `drain`.

        Raises:
            MigrationError: the schema has gone on without this broker, or there are other shards now.
        """
        while not self._draining:
            pause_s, stumbled = 0.0, False
            try:
                async with self._life() as ledger:
                    await self._stand_by(ledger)
                    if not self._draining:
                        await _apart(self._serve(ledger))
            except Fenced as error:
                log.warning("fenced: another broker owns the shards", reason=str(error))
            except KeyTaken as error:
                log.error("facts of this broker's shards were written by somebody else; reading the ledger again", reason=str(error))
            except Unstorable as error:  # it would be refused for ever, and all that comes after it would wait
                self.inbox.suspects.blame(str(error))
                log.error("a flush that cannot be stored is given up; reading the ledger again", reason=str(error))
            except FactsLost as error:
                self._metrics.facts_lost.inc()
                log.error("acknowledged facts are lost: the database is not the one that stored them, or was set back; reading the ledger again", reason=str(error))
            except (ResultUnknown, NothingStored, *ANY_FAILURE) as error:
                log.warning("database not available", reason=f"{type(error).__name__}: {error}")
                pause_s = random.uniform(*RECONNECT_S)
            except MigrationError:
                raise
            except Exception as error:
                pause_s, stumbled = random.uniform(*RECONNECT_S), True
                self._stumble(error)
            finally:
                self._leave()
            if stumbled and self.say_avoided is not None:
                await self.say_avoided()
            await asyncio.sleep(pause_s)

    @property
    def stumbles(self) -> int:
        """How many times in a row this broker gave the shard up for an error that nobody expected; 0: all has been well for a while."""
        return self._stumbles.in_a_row(asyncio.get_running_loop().time())

    @property
    def avoided(self) -> bool:
        """Whether no other broker is to give this one the shard, since it gave it up for such an error not long ago."""
        return asyncio.get_running_loop().time() < self._stumbles.away_until

    def _stumble(self, error: Exception) -> None:
        pause_s = self._stumbles.note(asyncio.get_running_loop().time())
        self._metrics.shard_failures.inc()
        log.error(
            "an error that should not be: the shard is given up, and taken again after a pause; please report it", shard=self.shard.number, in_a_row=self.stumbles,
            pause_s=pause_s, reason=f"{type(error).__name__}: {error}", exc_info=error,
        )  # fmt: skip

    @property
    def draining(self) -> bool:
        """Whether this broker is about to end."""
        return self._draining

    async def drain(self) -> None:
        """Writes down what a successor reads; then takes no more work, stores what is pending, closes all streams, gives the life up. Ends `run`.

        Work stands still from the second of these steps until another broker has taken over, so the first one, which takes longest, comes while it goes on.
        """
        if self._flusher is not None and self._owner is not None and self._owner.refusing is None:
            await self._flusher.prepare()
        self._draining = True
        self._say_changed()
        if self._owner is not None and self._flusher is not None:
            self._stop(self._flusher, self._owner, "the broker is draining", Draining("this broker is shutting down; nothing was stored, ask another one"))

    async def hand_over(self) -> None:
        """Gives the shard away to a broker that stands by for it, and stands by for it from then on: as `drain`, but `run` goes on. Returns once it is given up.

        Calls that come meanwhile are held until another broker owns it. Where this broker does not serve, nothing is done.
        """
        flusher, owner, left = self._flusher, self._owner, self.left
        if flusher is None or owner is None or owner.refusing is not None:
            return
        await flusher.prepare()
        if self._owner is not owner or self._draining:
            return
        log.info("handing over", life_id=owner.life_id)
        self.role, self.holder = "standby", None
        self.ready.clear()
        self._say_changed()
        self._stop(flusher, owner, "another broker takes over", Draining("this broker hands over to another one; nothing was stored, try again"))
        await left.wait()

    def _stop(self, flusher: Flusher, owner: Owner, why: str, error: Draining) -> None:
        """Takes no more work, stores what is pending, closes all streams."""
        owner.refuse(error)
        for session in owner.sessions():
            session.out.go_away = why
            session.wake.set()
        flusher.stop()

    async def _open(self) -> Ledger:
        return await Ledger.open(self._dsn, address=self._address, version=self._version, peer=self.peer, shard=self.shard.number, broker=self.broker, of=self.shard.of)

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[Ledger]:
        ledger = await self._open()
        try:
            yield ledger
        finally:
            current = self._flusher.ledger if self._flusher is not None else ledger
            await current.close()

    async def _stand_by(self, ledger: Ledger) -> None:
        """Returns once this life owns its shard, or this broker drains."""
        loop = asyncio.get_running_loop()
        heard, silent_s, looked_at = (0, -1), 0.0, loop.time()  # the owner's life and how many flushes it has stored; for how long it was seen to be so
        free: dict[int, float] = {}  # life -> when it was found to have ended
        ended: asyncio.Event | None = None  # set when a life has ended by itself; None: that is not listened for yet
        while not self._draining:
            if ended is not None:
                ended.clear()
            passed_s, looked_at = min(loop.time() - looked_at, LOOK_S), loop.time()
            holder = next(iter(await ledger.holders()), None)
            if holder is None:
                return
            wait_s = STANDBY_POLL_S * random.uniform(0.8, 1.2)
            for_others_s = await self._for_others_s(ledger, holder.life_id, free)
            if for_others_s == 0 and await ledger.take_over(holder.life_id):
                log.info("took shards over", from_life=holder.life_id, life_id=ledger.life_id)
                self._know(None)
                if await ledger.owns_its_shard():
                    return
            elif 0 < for_others_s < math.inf:
                wait_s = min(wait_s, for_others_s)
                self._know(None)
            else:
                self._stand_behind(holder)
                silent_s = silent_s + passed_s if (holder.life_id, holder.flushes) == heard else 0.0
                heard = holder.life_id, holder.flushes
                if silent_s > HUNG_S:
                    log.warning("the owner hangs: ending its connection", owner_life=holder.life_id, silent_s=round(silent_s, 1))
                    await ledger.terminate(holder.life_id)
            if ended is None:
                ended = asyncio.Event()
                await ledger.hear_of_ends(ended.set)
                continue  # one may have ended meanwhile
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await ended.wait()

    def _stand_behind(self, holder: Holder) -> None:
        if self.role != "standby":
            log.info("standing by", owner_life=holder.life_id, owner_address=holder.address)
            self.role = "standby"
            self.listening.set()
        self._know(holder)

    async def _for_others_s(self, ledger: Ledger, life_id: int, free: dict[int, float]) -> float:
        """How long a life's shard is to be left to other brokers; 0: not at all, infinite: the life has not ended. `free`: see `_stand_by`."""
        loop = asyncio.get_running_loop()
        if self.take_delay is None and self._stumbles.until <= loop.time():
            return 0.0
        if life_id and not await ledger.has_ended(life_id):
            free.pop(life_id, None)
            return math.inf
        since = free.setdefault(life_id, loop.time())
        delay_s = await self.take_delay() if self.take_delay is not None else 0.0
        return max(0.0, since + delay_s - loop.time(), self._stumbles.until - loop.time())

    def _know(self, holder: Holder | None) -> None:
        """Who owns the shard now. Whoever waits for that is woken when it is another, or is reached in another way."""
        known, self.holder = self.holder, holder
        if (known is None) != (holder is None) or (known is not None and holder is not None and (known.life_id, known.peer) != (holder.life_id, holder.peer)):
            self._say_changed()

    def _say_changed(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def owns(self) -> bool:
        """Asks the database whether this broker owns the shard: what a duty wants to know before a pass, since its process may just have been woken after hours.

        Raises what asyncpg raises, and what `owner` does.
        """
        return await self._peers.owns(self.owner.life_id)

    async def show_certificate(self, certificate: str) -> None:
        """The gRPC listener shows another certificate from now on: brokers that stand by are told. Raises what asyncpg raises."""
        if self.peer is None or self.peer.certificate == certificate:
            return
        peer = replace(self.peer, certificate=certificate)
        if self._owner is not None:
            await self._peers.put(self._owner.life_id, peer)
        self.peer = peer

    async def _serve(self, ledger: Ledger) -> None:
        loop = asyncio.get_running_loop()
        clock = DatabaseClock(loop.time)
        before = loop.time()
        clock.set(await ledger.database_time(), before, loop.time())
        await self._types.load(everything=True)
        owner = Owner(
            life_id=ledger.life_id, types=self._types, clock=clock, limits=self._limits, metrics=self._metrics, monotonic=loop.time, random=random.random,
            shard=self.shard,
        )  # fmt: skip
        owner.lines.boosts = await self.instances.priorities()
        started = loop.time()
        floor = await self._recover(owner, ledger)
        checkpoints = Checkpoints(CheckpointStore(self._pool, self.shard.number), floor)
        seconds = round(loop.time() - started, 3)
        if self._draining:  # told to end meanwhile: whoever stands by goes on
            return
        log.info("serving", life_id=ledger.life_id, unsettled=len(owner.live_jobs), from_checkpoint=floor is not None, seconds=seconds)
        self._flusher = Flusher(
            owner, ledger, self._succeed, checkpoints, self._metrics, self.health, make_partitions=functools.partial(self._open_classes, owner)
        )  # fmt: skip
        rescores = self._rescores = Rescores(owner, self.instances)
        rescores.again()
        self._operations = Operations(owner, self.heads, self.operation_store, self.find_ids(owner)) if self.find_ids is not None else None
        self._owner, self.role, self.holder = owner, "active", None
        self._say_changed()
        self.left = asyncio.Event()
        self.ready.set()
        self.listening.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                ticking = owner.schedules.run(self.schedules, self.heads, loop.time)
                duties = [
                    ticking,
                    refill_bodies(owner, self.heads),
                    judge_stale(owner, self.heads),
                    read_standings(owner, self.heads),
                    self._keep_ranges(owner),
                    checkpoints.run(),
                    Starting(owner, self.heads).run(),
                    owner.breakers.run(self.breaker_store),
                    rescores.run(),
                ]
                if self._operations is not None:
                    duties.append(self._operations.run())
                if self.reader is not None:
                    duties += [take_inbox(owner, self.inbox, self.reader, self.heads), listen(self._dsn, owner.doors.wake.set)]
                side = [tasks.create_task(duty) for duty in duties]
                await self._flusher.run()
                with contextlib.suppress(ResultUnknown, NothingStored):  # then its connection has to end first
                    await self._flusher.ledger.leave()  # what else runs here may take its time
                for task in side:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _recover(self, owner: Owner, ledger: Ledger) -> datetime | None:
        """Reads the ledger; proves meanwhile that this life lives, or a standby would end it. Returns what `recover` does."""

        recovered = asyncio.Event()

        async def prove() -> None:
            while True:  # and never cancelled in a flush: Postgres may cancel the next one instead
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PROOF_S):
                        await recovered.wait()
                        return
                await ledger.flush(Batch())

        try:
            async with asyncio.TaskGroup() as tasks:
                proof = tasks.create_task(prove())
                ranges = await partitions.ranges(self._pool)
                if await self._open_classes(owner, known=ranges):
                    ranges = await partitions.ranges(self._pool)
                async with Recovery(self._pool) as recovery:
                    floor = await recover(owner, recovery, CheckpointStore(self._pool, self.shard.number), ranges)
                await owner.schedules.load(self.schedules)
                await owner.breakers.load(self.breaker_store)
                recovered.set()
                await proof  # here: before Python 3.11.4 a group that fails while it is left leaves its task with a cancellation, and the next timeout there ends it
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        return floor

    def advance_clock(self, seconds: float) -> float:
        """For tests: what is scheduled, put off or to be deleted comes as if that time had passed; returns what the clock shows then, in seconds since 1970.

        Raises:
            Unavailable: nothing was done.
        """
        owner = self.owner
        owner.clock.advance(seconds)
        for timers in (owner.timers, owner.lines.timers):
            timers.shift(seconds, asyncio.get_running_loop().time())
        owner.breakers.shift(seconds)
        owner.wake.set()
        return owner.clock.now_s()

    async def _open_classes(self, owner: Owner, *, known: Sequence[FactRange] = ()) -> int:
        """Sees to the partitions that are needed now and next; returns how many were missing. `known`: those that are there."""
        wanted = {DEFAULT_CLASS} | {entry.class_ for entry in self._types.by_id.values()}
        at_s = max(owner.clock.now_s(), created_at_s(owner.numbering.highest))  # ids go on from where they are when the clock is set back
        made = await partitions.ensure(self._pool, wanted, at_s, known)
        owner.numbering.open_ids = partitions.open_ids(wanted, at_s)
        if made:
            log.info("made partitions", ranges=made)
        return made

    async def _keep_ranges(self, owner: Owner) -> None:
        """Makes the partitions that are needed next. A failure is tried again: ranges exist far enough ahead."""
        while True:
            await asyncio.sleep(RANGES_S * random.uniform(0.9, 1.1))
            try:
                await self._open_classes(owner)
            except ANY_FAILURE as error:
                log.warning("partitions not made", reason=str(error))

    async def _succeed(self, dead: Ledger) -> Ledger:
        """A new life that has taken over from this broker's own dead one. Waits for the database as long as it takes.

        Raises:
            Fenced: another broker was faster. FactsLost: what the dead life had stored is not there any more.
        """
        wait_s, longest_s = RECONNECT_S
        while True:
            try:
                ledger = await self._open()
                try:
                    await self._go_on_from(ledger, dead)
                except BaseException:
                    ledger.abandon()  # it may hold the lock of the dead life, for which the next one would wait for ever
                    raise
                return ledger
            except (ResultUnknown, NothingStored):
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(longest_s, wait_s * 2)

    async def _go_on_from(self, ledger: Ledger, dead: Ledger) -> None:
        """Has a new life take over from a dead one. Raises as `_succeed` does, and what the ledger raises."""
        await ledger.succeed(dead)
        await ledger.terminate(dead.life_id)
        while not await ledger.take_over(dead.life_id):
            await asyncio.sleep(0.02)
        if not await ledger.owns_its_shard():
            raise Fenced("another broker took the shards while the database was away")

    def _leave(self) -> None:
        owner, self._owner, self._flusher = self._owner, None, None
        self.ready.clear()
        self._metrics.operations_running.set(self.shard.number, 0)
        if self.role != "standby":
            self.role = "starting"
        if owner is None:
            return
        owner.refuse(NotOwner("this broker no longer owns the queue; ask another one"))
        owner.hub.close()
        owner.breakers.leave()
        self.left.set()
        self._say_changed()
        for session in owner.sessions():
            session.out.go_away = "the broker is draining" if self._draining else "this broker no longer owns the queue"
            session.wake.set()


async def _apart(work: Coroutine[Any, Any, None]) -> None:
    """Runs it in a task of its own: before Python 3.11.4 a group that fails while it is left leaves its task with a cancellation, and the next timeout there ends it.

    Cancellation: the work is cancelled, and this returns when it has ended.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody asks for it any more
        raise
    if task.cancelled():
        raise RuntimeError("the owner ended with a cancellation that nobody asked for")
    task.result()
