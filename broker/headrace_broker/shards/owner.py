"""The owner of a shard: what is live, in memory, and every decision about it.

Callers leave intents (`submit`, `end`, `change`); the flusher asks for the next round (`build`), stores it in one commit, and then has it told (`settle`). Memory
runs ahead of the database by the rounds that are under way, and nobody is told of a decision before it is durable. If a round turns out not to be storable, this
object is thrown away and another one is read from the ledger: there is no undo.

Two rounds are under way at most: the one that is being stored, and under a load that lasts the next one, which is decided meanwhile (`build_ahead`). That one is stored
after it and never without it, and it moves no job that the other moves; but it may grant what the other submits. It takes changes until it is sent (`add_changes`).

Everything here runs in one event loop and never awaits while it decides. Written by: intents, sessions and credit by RPC handlers; all else by the flusher's task.
"""

import asyncio
import functools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from headrace_broker.metrics import Metrics
from headrace_broker.model.amended import Amended
from headrace_broker.model.amended import delete_minute as minute_of
from headrace_broker.model.errors import Busy, Draining
from headrace_broker.model.job import Kind, NoteKind, State
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.shards import changes, dispatcher, endings, replacing, sweep, turns
from headrace_broker.shards.bodies import BodyCache
from headrace_broker.shards.breakers import Breakers
from headrace_broker.shards.caps import Caps
from headrace_broker.shards.clock import DatabaseClock
from headrace_broker.shards.counted import Counted
from headrace_broker.shards.depth import Depth
from headrace_broker.shards.domains import DomainEntry
from headrace_broker.shards.doors import Doors
from headrace_broker.shards.graph import Graph
from headrace_broker.shards.hub import Hub
from headrace_broker.shards.intake import Intake, domain_of
from headrace_broker.shards.intents import TIE_BYTES, ChangeIntent, Completions, Ending, KeyedJob, NewJob, Note, PlainJobs, Submission
from headrace_broker.shards.keyed import Keyed
from headrace_broker.shards.lanes import Lanes
from headrace_broker.shards.lines import Lines
from headrace_broker.shards.live import Live
from headrace_broker.shards.numbering import Numbering
from headrace_broker.shards.overdue import Overdue
from headrace_broker.shards.pressure import Pressure
from headrace_broker.shards.room import Room
from headrace_broker.shards.round import Round
from headrace_broker.shards.schedules import Schedules
from headrace_broker.shards.session import Session
from headrace_broker.shards.tally import Tally
from headrace_broker.shards.timers import Timers
from headrace_broker.shards.types import TypeEntry, TypeTable
from headrace_broker.shards.undecided import Undecided
from headrace_broker.store.batch import MAX_ROWS, Batch, UniqueName, payload_of

MAX_PENDING_JOBS = 50_000
"""Submitted jobs that wait for their flush; beyond, callers are told to come back. About half a second of work."""
MAX_PENDING_BYTES = 64 * 1024 * 1024
MAX_NOTE_BYTES = 64 * 1024 * 1024
"""Of notes that wait for their flush, while the database is away. Beyond, checkpoints are left out: the next one of the job says more. All else is bounded by who brings
it: steps of an abort by the leases that are to end, evidence of late outcomes by how many are judged at a time; outcomes: see `undecided`."""
NOTE_BYTES = 300
"""What a note takes beside its data, about."""
AHEAD_ROWS = 1000
"""Facts that make a round large: one that is under way with so many leaves time to decide the next one, and so much must be pending for that."""
FORCED_AT_ONCE = 1000
"""Jobs whose locks a round asks for, for those who end leases by force: no further call is asked for then. A thousand take 4 to 15 ms, and 5 to 8 to be given back, on a
busy machine. Locks lie in memory that all sessions share, and some 10,000 fill it."""
CHANGE_ROWS = 500
"""Rows of a round that are for what people and programs change, however full it is of jobs and outcomes."""


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """Times in seconds, sizes in bytes; from the broker's configuration."""

    lease_s: float
    heartbeat_s: float
    disconnect_grace_s: float
    accept_timeout_s: float
    payload_limit_bytes: int
    cache_bytes: int


class Owner:
    """See the module. `monotonic` is the loop's clock; `random` gives floats in [0, 1)."""

    def __init__(
        self, *, life_id: int, types: TypeTable, clock: DatabaseClock, limits: OwnerLimits, metrics: Metrics,
        monotonic: Callable[[], float], random: Callable[[], float], shard: Shard = ONLY,
    ) -> None:  # fmt: skip
        self.life_id = life_id
        self.first_life_id = life_id
        """The life that it began with; `life_id` is another one after each connection that was lost. What is counted is stored under it."""
        self.shard = shard
        self.types = types
        self.clock = clock
        self.limits = limits
        self.metrics = metrics
        self.hub = Hub()
        self.numbering = Numbering(clock, shard)
        self.lanes = Lanes(waits=functools.partial(turns.waits, self))
        self.lines = Lines(self.lanes.marks, functools.partial(turns.waits, self))  # what has terms
        self.caps = Caps()
        self.breakers = Breakers(self)
        self.overdue = Overdue()
        self.depth = Depth(self)
        self.room = Room()  # for submits that came when it was full
        self.pressure = Pressure(monotonic, random)
        self.live_jobs: dict[int, Live] = {}
        self.bodies = BodyCache(limits.cache_bytes)
        self.by_incarnation: dict[str, Session] = {}
        self.hungry: dict[Session, None] = {}  # sessions that may have room, in turn
        self.counted = Counted()
        self.refill: deque[tuple[Session, Live]] = deque()  # granted, durable, body to be read
        self.undecided = Undecided()
        self.stale: deque[Ending] = deque()  # outcomes of leases that memory does not know
        self.wake = asyncio.Event()
        self.refill_wake = asyncio.Event()
        self.stale_wake = asyncio.Event()
        self.refusing: Exception | None = None  # why new work is refused; None: it is taken
        self.rounds = 0  # decided
        self.stored = 0  # durable: all rounds up to this number
        self.taken_over_at = monotonic()
        self.not_before: dict[int, float] = {}  # forced endings: when the old lease has surely ended
        self.readers: list[set[int]] = []  # one for each change between its read and its decision: jobs that moved meanwhile
        self._deciding: Round | None = None  # for whoever is in the middle of it, and when an error broke it off
        self.under_way: deque[Batch] = deque()  # facts of the rounds that are not durable yet, in their order
        self.amended: dict[int, Amended] = {}  # of live jobs that have some
        self.aborting: dict[int, Live] = {}  # processing jobs whose end somebody asked for
        self.orphans: dict[int, list[Live]] = {}  # leases that a takeover found open, by agent_id
        self.beating: set[Session] = set()  # sessions with heartbeats to be confirmed
        self._monotonic = monotonic
        self.random = random
        self.timers = Timers()
        self.tally = Tally()
        self._submissions = Intake()
        self.keyed = Keyed(self)
        self.doors = Doors()
        self.schedules = Schedules(self)
        self.graph = Graph(self)
        self.endings: deque[Ending | Completions] = deque()
        self._changes: deque[ChangeIntent] = deque()
        self._notes: deque[Note] = deque()
        self._note_bytes = 0
        self._pending_jobs = 0
        self._pending_bytes = 0
        self._next_sweep = 0.0
        self.swept_all_at = -math.inf  # when all live jobs were looked at, not only those that are leased

    # What callers want -------------------------------------------------------------------------------------------------------------------------

    def submit(self, jobs: list[NewJob] | PlainJobs, size_bytes: int) -> "asyncio.Future[list[int]]":
        """Queues jobs without keys; the future gets their ids once they are durable. `size_bytes` is that of their payloads.

        Raises:
            Busy: too much is waiting for its flush. QueueFull: a depth limit. Unavailable: nothing is taken now.

        Cancellation: a cancelled future changes nothing; the jobs are stored.
        """
        self._leave_room_for_others(domain_of(jobs), len(jobs))
        reserved = self._admit(jobs, len(jobs), size_bytes)
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._submissions.put(Submission(jobs, done, reserved))
        self.wake.set()
        return done

    def submit_keyed(
        self,
        job: NewJob,
        domain_id: int,
        key: str,
        body_hash: bytes,
        size_bytes: int,
        *,
        unique_key: str = "",
        return_holder: bool = True,
        depends_on: tuple[int, ...] | None = None,
        batch_id: int = 0,
        other_hashes: Sequence[bytes] = (),
    ) -> "asyncio.Future[tuple[int, bool]]":
        """Queues a job with an idempotency key, a unique key or both (empty: none), or one that depends on others; the future gets (job_id, whether it existed).

        When a live job holds the unique key the answer is that job, or UniqueKeyTaken without `return_holder`. Errors as for `submit`; IdempotencyConflict in the future.
        """
        self._leave_room_for_others(job[0].domain_entry, 1)
        reserved = self._admit([job], 1, size_bytes + TIE_BYTES * len(depends_on or ()))
        done: asyncio.Future[tuple[int, bool]] = asyncio.get_running_loop().create_future()
        self.keyed.put(KeyedJob(job, domain_id, key, body_hash, done, unique_key, depends_on, batch_id, return_holder, other_hashes, reserved))
        self.wake.set()
        return done

    def end(self, endings: Iterable[Ending | Completions]) -> None:
        """Queues the ends of attempts; sinks are told what became of each."""
        self.endings.extend(endings)
        self.wake.set()

    def change(self, intent: ChangeIntent) -> None:
        """Queues a change that a person or program asked for; see `changes.request`."""
        self._changes.append(intent)
        self.wake.set()

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        """Stores a checkpoint if the lease is the current one, and there is room."""
        live, room = self.live_jobs.get(job_id), self._note_bytes + len(data) + NOTE_BYTES <= MAX_NOTE_BYTES
        if room and live is not None and live.seq == epoch and live.state is State.PROCESSING:
            self.note(Note(job_id, epoch, NoteKind.CHECKPOINT, data))

    def note(self, note: Note) -> None:
        """Queues a note."""
        self._notes.append(note)
        self._note_bytes += len(note.data) + NOTE_BYTES
        self.wake.set()

    def evidence(self, job_id: int, epoch: int, data: bytes) -> "asyncio.Future[None]":
        """Stores an outcome that came too late; done when it is durable."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.note(Note(job_id, epoch, NoteKind.LATE_OUTCOME, data, done=done))
        return done

    def _admit(self, jobs: list[NewJob] | PlainJobs, count: int, size_bytes: int) -> Counter[TypeEntry] | None:
        if self.refusing is not None:
            raise self.refusing
        self.require_room(count, size_bytes)
        reserved = self.depth.reserve(jobs)
        self.pressure.took(count)
        self._pending_jobs += count
        self._pending_bytes += size_bytes
        return reserved

    def _leave_room_for_others(self, domain: DomainEntry, jobs: int) -> None:
        """Raises Busy when a domain would have more than half of what may wait, where there are others."""
        if len(self.types.domains) > 1 and (waiting := self._submissions.jobs(domain) + self.keyed.jobs(domain)) + jobs > MAX_PENDING_JOBS // 2:
            raise Busy(f"{waiting} submitted jobs of domain {domain.name} wait for the database; try again shortly", self.pressure.retry_s())

    def has_room(self, jobs: int, size_bytes: int = 0) -> bool:
        """Whether so many jobs are no more than may wait for their flush. What comes alone is taken, however large it is."""
        return not (self._pending_jobs and (self._pending_jobs + jobs > MAX_PENDING_JOBS or self._pending_bytes + size_bytes > MAX_PENDING_BYTES))

    def require_room(self, jobs: int, size_bytes: int = 0) -> None:
        """Raises Busy when there is no room for so many jobs."""
        if not self.has_room(jobs, size_bytes):
            raise self.busy()  # which no frame names: it would hold the frames of its traceback, and they it, until the collector's next full pass

    def busy(self) -> Busy:
        """Why jobs are refused that there is no room for."""
        return Busy(f"{self._pending_jobs} submitted jobs wait for the database; try again shortly", self.pressure.retry_s())

    def admitted(self, jobs: int, size_bytes: int) -> None:
        """So many jobs that were queued are on their way to the database."""
        self._pending_jobs -= jobs
        self._pending_bytes = max(0, self._pending_bytes - size_bytes)

    # Rounds ------------------------------------------------------------------------------------------------------------------------------------

    def build(self, *, grant: bool = True) -> Round:
        """Decides what is pending and returns the facts; an empty round is a mere proof of ownership. At most about MAX_ROWS facts."""
        round_ = self._begin_round()
        self._sweep(round_.at)
        self._take_submissions(round_)
        self.doors.take(self, round_)
        endings.take(self, round_)
        self._take_changes(round_, round_.at)
        self._take_notes(round_)
        self.graph.advance(round_)
        return self._end_round(round_, grant=grant)

    def build_ahead(self) -> Round | None:
        """Decides the next round while one is being stored, if enough is pending for a large one, and that is nothing but submissions and completions, which nearly
        everything is under load; changes join it before it is sent. None: it is not. See the module.
        """
        if any(map(changes.needs_locks, self._changes)) or self.graph or self.doors or self.doors.restored or self.aborting or self.keyed or self.schedules.idle_s() <= 0:
            return None
        if not all(type(ending) is Completions for ending in self.endings):
            return None
        if self._pending_jobs + sum(map(len, self.endings)) < AHEAD_ROWS:  # type: ignore[arg-type]  # the check above
            return None
        round_ = self._begin_round()
        self._take_submissions(round_)
        endings.take(self, round_)
        self._take_notes(round_)
        return self._end_round(round_, grant=True)

    @property
    def has_changes(self) -> bool:
        """Whether changes wait to be decided."""
        return bool(self._changes)

    def add_changes(self, round_: Round) -> None:
        """Decides the changes that came since a round was decided ahead, as its last part; it has not been sent, and the one before is settled. So no change waits for
        a round that was decided before it came. Those that need the locks of jobs have a round of their own.
        """
        self._deciding = round_
        self._take_changes(round_, self._monotonic())
        round_.batch.packed = None  # its columns are longer now
        self._deciding = None

    @staticmethod
    def takes_long(round_: Round) -> bool:
        """Whether a round is under way for so long that it is worth while to decide the next one meanwhile."""
        return round_.batch.rows() >= AHEAD_ROWS

    def _begin_round(self) -> Round:
        self.rounds += 1
        round_ = self._deciding = Round(self.rounds, self._monotonic(), self.clock.now_s())
        round_.batch.lease_s = self.limits.lease_s
        return round_

    def _end_round(self, round_: Round, *, grant: bool) -> Round:
        """Grants what is ready by now."""
        turns.take_due(self, round_.at)
        self.caps.settle(self, round_.at)
        if grant:
            dispatcher.grant(self, round_, round_.at)
        round_.batch.max_id = self.numbering.highest
        self.under_way.append(round_.batch)
        self._deciding = None
        if self.room:
            self.room.free(MAX_PENDING_JOBS - self._pending_jobs)
        return round_

    def is_moving(self, live: Live) -> bool:
        """Whether the newest event of a job is not durable yet: it gets no other one before that is."""
        return live.round > self.stored

    def moving(self) -> set[int]:
        """Jobs whose events are being stored: what is read of them now may be from before or after."""
        return {job_id for batch in self.under_way for job_id in batch.event_job}

    def claiming(self) -> set[UniqueName]:
        """Unique keys that jobs take by what is being stored."""
        return {name for batch in self.under_way for name in batch.claims}

    def decided(self, type_id: int, state: State) -> int:
        """How many more unsettled jobs of a type there are in a state than are durable, by the rounds that are under way."""
        return sum([batch.counts[type_id, state, 0] for batch in self.under_way])

    def contested(self, now: float) -> list[tuple[int, int]]:
        """Leases that are to end in the next round, and that somebody's transaction may be about to complete; see `Doors.contested`."""
        self._sweep(now)
        asked, forced = self.doors.contested(self, now), list[tuple[int, int]]()
        for intent in self._changes:
            intent.asked = len(forced) < FORCED_AT_ONCE
            if intent.asked:
                forced += changes.contested(self, intent)
        return list(dict(asked + forced).items())

    def _sweep(self, now: float) -> None:
        if now >= self._next_sweep:
            self._next_sweep = sweep.sweep(self, now)

    def settle(self, round_: Round) -> None:
        """The round is durable: counts it and tells everybody. Rounds are settled in their order."""
        oldest = self.under_way.popleft()
        assert oldest is round_.batch
        self.stored = round_.number
        now = self._monotonic()
        for live in round_.waiting_again:
            turns.await_turn(self, live, now)
        if round_.waiting_again:
            self.grant_soon()
        if round_.batch.inbox is not None:
            self.doors.settled(round_.batch.inbox)
        self.counted.add(round_.batch.counts)
        self.metrics.flushed(round_.batch)
        self.tally.add(round_, self.clock.now_s())
        for sink, job_ids, _, _ in round_.acks:
            self.undecided.told(sink.agent_id, len(job_ids))
        if not (self.endings or self.stale or self.under_way or self.doors.has_contested):
            self.undecided.forget()
        round_.tell(self.refill)
        if self.refill:
            self.refill_wake.set()
        if self.hub.active:  # asked now: who subscribed while the round was in flight has read what was before it
            self.hub.publish(round_.changes())
        if self.beating:
            quiet_s = self.limits.lease_s / 2
            for session in self.beating:
                session.confirm(round_.number - 1, now, quiet_s)
            self.beating = {session for session in self.beating if session.beats}

    def grant_soon(self) -> None:
        """Jobs have become ready: the next round begins at once, if there may be an agent for them."""
        if self.hungry:
            self.wake.set()

    def refuse(self, error: Exception) -> None:
        """From now on new work is refused with `error`; what waits for its flush and was not sent is refused too: nothing of it is stored."""
        if not isinstance(self.refusing, Draining):  # the last word
            self.refusing = error
        if self._deciding is not None:
            self._deciding.give_up(error)
        for submission in self._submissions:
            self.depth.release(submission.reserved)
            if not submission.done.done():
                submission.done.set_exception(error)
        for intent in self._changes:
            if not intent.done.done():
                intent.done.set_exception(error)
        self._submissions.clear()
        self.keyed.refuse(error)
        self.doors.drop(self)
        self.schedules.refuse(error)
        self._changes.clear()
        self._pending_jobs = self._pending_bytes = 0
        self.room.free(math.inf)

    def accept_work(self) -> None:
        """New work is taken again, after the database was away: leases begin anew, since nobody could renew them."""
        now = self._monotonic()
        if not isinstance(self.refusing, Draining):
            self.refusing = None
        for session in self.by_incarnation.values():
            session.renewed_at = now
            if session.stream is None:
                session.closed_at = now
        for live in self.live_jobs.values():
            if live.state is State.PROCESSING and live.session is None:
                live.lease_end = max(live.lease_end, now + self.limits.lease_s)
            if live.deadline:
                live.deadline = max(live.deadline, now + self.limits.lease_s)

    def now(self) -> float:
        """The owner's monotonic clock, in seconds."""
        return self._monotonic()

    def idle_s(self) -> float:
        """How long nothing is due, at most."""
        now = self._monotonic()
        due = [self._next_sweep - now] if self.by_incarnation or self.live_jobs else []
        due += [at - now for at in (self.timers.next_due(), self.lines.timers.next_due(), self.caps.due) if at is not None]
        return max(0.0, min(*due, self.schedules.idle_s(), math.inf))

    @property
    def has_intents(self) -> bool:
        """Whether anything waits to be decided."""
        return bool(self._submissions or self.endings or self._changes or self._notes or self.keyed or self.graph or self.doors)

    # Decisions ---------------------------------------------------------------------------------------------------------------------------------

    def record(
        self, round_: Round, live: Live, kind: Kind, state: State, *, delete_minute: int | None = None, old_minute: int | None = None, result: bytes | None = None
    ) -> None:
        """Adds the event that moves `live`, whose numbers are those after it; counts, and tells watchers. `old_minute`: the delete date of a job that was settled."""
        if live.line is not None:
            self.lines.moved(live.line, live.state, state)
        type_id = live.entry.type_id
        counts = round_.batch.counts
        counts[type_id, live.state, old_minute or 0] -= 1
        counts[type_id, state, delete_minute or 0] += 1
        live.seq += 1
        live.kind, live.state, live.round = kind, state, round_.number
        round_.batch.add_event(
            live.job_id, live.seq, type_id, kind, state, live.run, live.attempt, live.losses, live.agent_id,
            delete_minute=delete_minute, result=result,
        )  # fmt: skip
        if self.readers:
            self.note_moved([live.job_id])
        round_.moved.append(([live], kind))

    def record_grants(self, round_: Round, lives: list[Live], type_id: int, agent_id: int) -> None:
        """The same for first grants of jobs of one type to one agent, in columns; `lives` say it already."""
        job_ids = [live.job_id for live in lives]
        counts = round_.batch.counts
        counts[type_id, State.WAITING, 0] -= len(job_ids)
        counts[type_id, State.PROCESSING, 0] += len(job_ids)
        round_.batch.add_grants(job_ids, type_id, agent_id)
        self.note_moved(job_ids)
        round_.moved.append((lives, Kind.GRANTED))

    def note_moved(self, job_ids: Iterable[int]) -> None:
        """These jobs have a new event: changes that read them before must read them again."""
        for moved in self.readers:
            moved.update(job_ids)

    def delete_minute(self, entry: TypeEntry, state: State, amended: Amended | None = None) -> int | None:
        """The minute since 1970 from which a job that is settled now will be gone; None: never."""
        return minute_of(entry.settings, amended, state, self.clock.now_s())

    def settle_job(self, round_: Round, live: Live, kind: Kind, state: State, *, result: bytes | None = None, again: bool = False) -> int | None:
        """The job is settled by this event and leaves memory; returns its delete minute. `again`: a new run begins in the same round, and nobody is told."""
        self.live_jobs.pop(live.job_id, None)
        self.lines.members.pop(live.job_id, None)
        self.release_lease(live)
        if again:
            self.graph.leave(live.job_id)
        else:
            self.graph.settled(live.job_id, state)
        minute = self.delete_minute(live.entry, state, self.amended.pop(live.job_id, None))
        self.record(round_, live, kind, state, delete_minute=minute, result=result)
        return minute

    def raise_alert(self, round_: Round, live: Live, error: str | None) -> None:
        """Writes an alert for a job that was just settled, if its type wants one."""
        settings = live.entry.settings
        if live.state is State.ERROR and settings.alert_on_error:
            round_.batch.add_alert(live.job_id, live.entry.type_id, live.seq, "job_error", error)
        elif live.state is State.ABORTED and settings.alert_on_abort:
            round_.batch.add_alert(live.job_id, live.entry.type_id, live.seq, "job_aborted", error)

    def release_lease(self, live: Live) -> None:
        """Nobody holds the job's lease any more."""
        if live.session is not None:
            live.session.leases.pop(live.job_id, None)
            live.session.unsent.pop(live, None)
        live.session, live.progress, live.abort, live.lease_end = None, None, None, 0.0
        self.aborting.pop(live.job_id, None)

    def _take_submissions(self, round_: Round) -> None:
        batch = round_.batch
        self.numbering.begin(self.rounds)
        most = MAX_ROWS // 2
        if self._pending_jobs >= MAX_PENDING_JOBS // 2 and dispatcher.behind(self):
            most //= 2  # under a load that lasts, what can be done now goes before what would only be stored
        while self._submissions and len(batch.job_id) < most:
            submission = self._submissions.pop()
            self.depth.release(submission.reserved)
            first, job_ids = len(batch.job_id), list[int]()
            round_.submissions.append((submission, job_ids))
            if isinstance(submission.jobs, PlainJobs):
                self._take_plain(round_, submission.jobs)
                job_ids += batch.job_id[first:]
                continue
            for job in submission.jobs:
                entry, _, _, body = job
                job_id = self.numbering.add_job(batch, job)
                batch.counts[entry.type_id, State.WAITING, 0] += 1
                self._pending_bytes -= len(payload_of(body))
                self.bodies.put(entry.type_id, job_id, body)
                turns.enter_job(self, job_id, job)
            job_ids += batch.job_id[first:]
            self._pending_jobs -= len(submission.jobs)

    def _take_plain(self, round_: Round, jobs: PlainJobs) -> None:
        """The same in columns: no step is taken for each job."""
        entry, count = jobs.entry, len(jobs)
        job_ids = self.numbering.take(entry, count)
        round_.batch.add_plain(job_ids, entry.type_id, jobs.priority, jobs.payloads)
        round_.batch.counts[entry.type_id, State.WAITING, 0] += count
        self._pending_jobs -= count
        self._pending_bytes -= sum(map(len, jobs.payloads))
        self.bodies.put_all(entry.type_id, job_ids, jobs.payloads)
        self.lanes.extend(entry.type_id, jobs.priority, job_ids)

    def _take_notes(self, round_: Round) -> None:
        self._note_bytes = 0
        while self._notes:
            note = self._notes.popleft()
            round_.batch.add_note(note.job_id, note.epoch, note.kind, actor=note.actor, data=note.data)
            if note.done is not None:
                round_.answers.append((note.done, None))

    def _take_changes(self, round_: Round, now: float) -> None:
        """Changes that end leases by force have their turn in a round for which their locks were asked for."""
        later: list[ChangeIntent] = []
        most = max(MAX_ROWS, round_.batch.rows() + CHANGE_ROWS)  # a lane of their own: under load jobs and outcomes fill every round
        try:
            while self._changes and round_.batch.rows() < most:
                intent = self._changes[0]
                if replacing.must_wait(self, round_, intent) or (changes.needs_locks(intent) and not intent.asked):
                    later.append(intent)
                else:
                    changes.decide(self, round_, intent, now)
                self._changes.popleft()  # now: if that failed it is refused with the others
        finally:
            self._changes.extendleft(reversed(later))
            for intent in self._changes:
                intent.asked = False  # what was locked for it is given back after the round

    # Reads -------------------------------------------------------------------------------------------------------------------------------------

    @property
    def age_s(self) -> float:
        """How long this owner has served, in seconds."""
        return self._monotonic() - self.taken_over_at

    def silent_s(self, session: Session) -> float:
        """Time since an agent's last message, in seconds."""
        return self._monotonic() - session.last_heard

    def sessions(self) -> Iterable[Session]:
        """Agents that are connected, or awaited."""
        return self.by_incarnation.values()

    def live(self, job_id: int) -> Live | None:
        """What memory knows of an unsettled job that was granted before."""
        return self.live_jobs.get(job_id)

    def counts(self, domain: str) -> dict[str, dict[State, int]]:
        """Durable jobs of a domain by type and state; what its delete date hides is not counted."""
        found: dict[str, dict[State, int]] = {}
        for (type_id, state), count in self.counted.shown(int(self.clock.now_s() // 60)).items():
            entry = self.types.by_id.get(type_id)
            if count and state is not State.GONE and entry is not None and entry.domain == domain:
                found.setdefault(entry.name, {})[state] = count
        return found
