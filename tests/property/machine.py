"""The owner of the shards driven step by step, on a real database, against a model that a person can check by eye.

Commands are what the outside can do: submit, grant, complete, fail, release, lose, abort, requeue, update, purge, let time pass, crash. After every step the owner's
memory and the model agree; a crash reads everything anew from the ledger.

This is the core: what happens to a single job. Machines beside it (`test_ties.py`, `test_doors.py`, ...) derive from it and know one topic more each.
"""

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import asyncpg
from headrace_broker.metrics import Metrics
from headrace_broker.model.amended import Amended, Update
from headrace_broker.model.audit import Caller
from headrace_broker.model.job import SETTLED, Disposition, Kind, State
from headrace_broker.model.settings import Settings
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.shards import changes, reception
from headrace_broker.shards.checkpoint import Checkpoints
from headrace_broker.shards.clock import DatabaseClock
from headrace_broker.shards.intents import Change, Completions, Ending, PlainJobs, Verb
from headrace_broker.shards.overdue import Overdue
from headrace_broker.shards.owner import Owner, OwnerLimits
from headrace_broker.shards.recover import recover
from headrace_broker.shards.refill import judge_stale, refill_bodies
from headrace_broker.shards.session import AgentFacts, Served, Session
from headrace_broker.shards.standings import read_standings
from headrace_broker.shards.types import TypeEntry, TypeTable
from headrace_broker.store import partitions
from headrace_broker.store.batch import FullBody, payload_of
from headrace_broker.store.breakers import BreakerStore
from headrace_broker.store.checkpoints import CheckpointStore
from headrace_broker.store.heads import Heads
from headrace_broker.store.instances import InstanceStore
from headrace_broker.store.ledger import Ledger
from headrace_broker.store.pool import open_pool
from headrace_broker.store.recovery import Recovery
from headrace_broker.store.schedules import ScheduleStore
from headrace_broker.store.settings import SettingsStore

T = TypeVar("T")
TESTER = Caller("test", "default", "tested")
MAX_ATTEMPTS = 2
MAX_LOSSES = 2
LEASE_S = 10.0
TERMS = {2: '{"limit_key": "a", "fairness_key": "x"}', 4: '{"limit_key": "a"}'}  # of jobs that are submitted so many at a time
SETTINGS: dict[str, Any] = {"max_attempts": MAX_ATTEMPTS, "max_losses": MAX_LOSSES, "retry_delay_s": 0.0, "retry_jitter": 0.0}


@dataclass
class Job:
    """What the model knows of a job."""

    state: State = State.WAITING
    run: int = 1
    attempt: int = 0
    losses: int = 0
    seq: int = 0
    abort: bool = False
    again: bool | None = None  # with the abort: it is to run again; whether also when it completes first
    amended: Amended = Amended()  # noqa: RUF009  # it is frozen
    payload: bytes = b"{}"
    next_payload: bytes | None = None  # of the run that is to follow an abort
    lost_epoch: int = 0  # lease that was lost and whose late outcome would still count
    held: bool = False  # it waits for others
    depends_on: frozenset[int] = frozenset()
    released: bool = False  # it had all that it depends on
    type: str = "work"
    priority: int = 0  # with which it was submitted
    unique: str = ""  # its unique key
    epochs: list[int] = field(default_factory=list)

    @property
    def own_priority(self) -> int:
        """Its part of the score."""
        return self.amended.priority if self.amended.priority is not None else self.priority


class Machine:
    """Owner and model side by side. All methods run in one event loop; `now` is the monotonic clock that they share."""

    agent_id = 0  # of the agent that connects

    def __init__(self, dsn: str, domain: str = "default", shard: Shard = ONLY) -> None:
        self._dsn = dsn
        self.domain = domain
        self.shard = shard  # that its domain lies in
        self.owner: Owner
        self.now = 1000.0
        self.lease_s = LEASE_S  # of the next owner
        self.terms = False  # whether some of its jobs have terms
        self.jobs: dict[int, Job] = {}
        self.completed: set[int] = set()  # jobs that have completed at some time
        self.answers: Counter[Disposition] = Counter()
        self._acks: dict[tuple[int, int], Disposition] = {}
        self.retired: Counter[tuple[int, int, int]] = Counter()  # jobs that are gone for good, as the counts have them
        self._due = 0.0  # when the next checkpoint is; later each time

    async def open(self) -> None:
        """Begins a life on the database."""
        self.pool = await open_pool(self._dsn, size=3)
        self.settings = SettingsStore(self.pool)
        self.types = TypeTable(self.settings)
        await self.types.load()
        self.type: TypeEntry = await self.types.ensure(self.domain, "work")
        await self.types.override(self.type, SETTINGS, [], caller=TESTER)
        assert self.type.settings == Settings(max_attempts=MAX_ATTEMPTS, max_losses=MAX_LOSSES, retry_delay_s=0.0, retry_jitter=0.0)
        self.served = [self.type]
        self.heads = Heads(self.pool)
        self.ledger: Ledger | None = None
        await self.prepare()
        await self.crash()

    async def prepare(self) -> None:
        """What a machine needs before its first broker: more types, for one."""

    async def add_type(self, name: str, **settings: Any) -> TypeEntry:
        """A further type, which the agent serves too."""
        entry = await self.types.ensure(self.domain, name)
        await self.types.override(entry, {**SETTINGS, **settings}, [], caller=TESTER)
        self.served.append(entry)
        return entry

    async def close(self) -> None:
        """Ends everything."""
        if not hasattr(self, "ledger"):
            return
        assert self.ledger is not None
        await self.ledger.close()
        await self.pool.close()

    async def crash(self, *, check: bool = True, full: bool = False) -> None:
        """The broker dies and another one reads the ledger; agents are not told. `check` False: the test did things that the model does not know of. `full`: the
        checkpoint is lost, so all of history is read.
        """
        old, self.ledger = self.ledger, await Ledger.open(self._dsn, address="test", version="test", shard=self.shard.number, of=self.shard.of)
        if old is not None:
            await old.close()
        for holder in await self.ledger.holders():
            while not await self.ledger.take_over(holder.life_id):
                await asyncio.sleep(0.005)
        clock = DatabaseClock(lambda: self.now)
        told = await self.ledger.database_time()  # the time that passed here does not pass there
        clock.set(max(told, self.owner.clock.now_s()) if old is not None else told, self.now, self.now)
        limits = OwnerLimits(self.lease_s, 1.0, 2.0, 5.0, 1 << 20, 1 << 20)
        self.owner = Owner(
            life_id=self.ledger.life_id, types=self.types, clock=clock, limits=limits, metrics=Metrics(), monotonic=lambda: self.now, random=lambda: 0.5,
            shard=self.shard,
        )  # fmt: skip
        self.owner.lines.boosts = await InstanceStore(self.pool, self.shard).priorities()
        if full:
            await self.pool.execute("delete from headrace.checkpoint where shard = $1", self.shard.number)
        await self.make_partitions()
        async with Recovery(self.pool) as recovery:
            floor = await recover(self.owner, recovery, CheckpointStore(self.pool, self.shard.number), await partitions.ranges(self.pool))
        await self.owner.schedules.load(ScheduleStore(self.pool, self.shard))
        await self.owner.breakers.load(BreakerStore(self.pool, self.shard))
        self.checkpoints = Checkpoints(CheckpointStore(self.pool, self.shard.number), floor)
        self.session: Session | None = None
        if check:
            self._check_lanes()

    async def make_partitions(self, *classes: int) -> None:
        """Those that are needed now and next of the default class, and of others."""
        await partitions.ensure(self.pool, {2, *classes}, self.owner.clock.now_s())
        self.owner.numbering.open_ids = partitions.open_ids({2, *classes}, self.owner.clock.now_s())

    def _check_lanes(self) -> None:
        """After recovery each job that waits is in one lane, once, and nothing else is."""
        ready = [job_id for _, _, ids in self.owner.lanes.copies() for job_id in ids] + list(self.owner.lines.ids(None))
        assert sorted(ready) == sorted(job_id for job_id, job in self.jobs.items() if job.state is State.WAITING and not job.held)
        assert self.owner.graph.unmet.keys() == {job_id for job_id, job in self.jobs.items() if job.held}

    async def flush(self, *, grant: bool = False) -> None:
        """One round: decided, stored, told."""
        assert self.ledger is not None
        locked: set[int] = set()
        if asked := self.owner.contested(self.now):
            locked, ended = await self.ledger.lock_jobs(asked)
            self.owner.doors.decided(self.owner, asked, locked, ended, self.now)
        round_ = self.owner.build(grant=grant)
        self.checkpoints.flushed((await self.ledger.flush(round_.batch)).at, changed=round_.batch.rows() > 0)
        self.owner.settle(round_)
        await self.ledger.unlock_jobs(locked)

    async def connect(self, held: dict[int, int]) -> None:
        """The agent says hello with the leases that it has."""
        incarnation = f"incarnation-{self.shard.number:04}"
        self.agent_id, seen = await self.settings.agent(self.domain, "agent", incarnation, "host", 1, "", "", {})
        facts = AgentFacts(self.agent_id, "agent", incarnation, self.domain, "host", 1, "", "", {}, seen)
        self.session, _, _ = reception.welcome(self.owner, facts, [Served(entry, 0, "async") for entry in self.served], 100, held, object(), self.now)

    async def checkpoint(self, *, store: bool, publish: bool) -> None:
        """A snapshot of this moment; written to its end, and made the newest checkpoint, or left as it is for whatever comes next."""
        assert self.ledger is not None
        self._due += 1e6
        self.checkpoints.take_if_due(self.owner, self.ledger, self._due)
        if store and self.checkpoints.writing:
            task = asyncio.ensure_future(self.checkpoints.run())
            while self.checkpoints.writing:
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task])
        if publish and not self.checkpoints.writing:
            await self.checkpoints.publish(self.ledger)
            await self.ledger.base_counts(dict(self.owner.counted), self.owner.numbering.newest, absorb=True, floor=self.checkpoints.floor)

    # Commands ----------------------------------------------------------------------------------------------------------------------------------

    async def submit(self, count: int) -> None:
        """New jobs."""
        columns = count % 2  # jobs of either form are the same from then on, and those that have terms
        body = FullBody(b"{}", more=TERMS[count]) if self.terms and count in TERMS else b"{}"
        done = self.owner.submit(PlainJobs(self.type, 0, [b"{}"] * count) if columns else [(self.type, 0, 0.0, body)] * count, 2 * count)
        await self.flush()
        for job_id in done.result():
            self.jobs[job_id] = Job()

    def put_held(self, depends_on: Sequence[int], *, available_at_s: float = 0.0) -> "asyncio.Future[tuple[int, bool]]":
        """Queues a job that depends on others."""
        body = FullBody(b"{}", more=json.dumps({"depends_on": list(depends_on)}))
        return self.owner.submit_keyed((self.type, 0, available_at_s, body), self.type.domain_id, "", b"", 2, depends_on=tuple(depends_on))

    async def store_keyed(self) -> None:
        """What the flusher does with a keyed round."""
        assert self.ledger is not None
        round_ = self.owner.keyed.build()
        if round_ is None:
            return
        flushed = await self.ledger.flush_keyed(round_.batch, round_.rows())
        self.checkpoints.flushed(flushed.at, changed=True)
        refused = round_.refused(flushed.stored)
        keys = [job.key_name for job in (*refused, *round_.closed) if job.key]
        names = [job.unique_name for job in refused if job.unique_key]
        self.owner.keyed.settle(round_, flushed, await self.ledger.key_holders(keys) if keys else {}, await self.ledger.unique_holders(names))

    async def until_done(self, task: "asyncio.Task[T]") -> T:
        """Stores what is pending, again and again, until somebody has the answer that they wait for."""
        while not task.done():
            await asyncio.sleep(0)  # it says what it wants
            if self.owner.keyed:
                await self.store_keyed()
            if self.owner.has_intents:
                await self.flush()
        return task.result()

    async def read_standings(self) -> None:
        """Lets the side task read how jobs stand that others wait for."""
        task = asyncio.ensure_future(read_standings(self.owner, self.heads))
        while self.owner.graph.unread or self.owner.graph.unread_batches or self.owner.readers:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])

    async def submit_held(self, depends_on: Sequence[int]) -> int:
        """A new job that depends on others, and knows how they stand."""
        done = self.put_held(depends_on)
        await self.store_keyed()
        await self.read_standings()
        await self.flush()
        job_id, _ = done.result()
        self.jobs[job_id] = Job(held=job_id in self.owner.graph.unmet, seq=0 if job_id in self.owner.graph.unmet else 1)
        return job_id

    async def grant(self, room: int) -> None:
        """The agent has room: the oldest waiting jobs are granted."""
        await self.come_back()
        granted = await self.give_room(room)
        waiting = [job_id for job_id, job in self.jobs.items() if job.state is State.WAITING and not job.held]
        assert len(granted) == min(room, len(waiting))
        left = [self.jobs[job_id].own_priority for job_id in waiting if job_id not in granted]
        assert all(self.jobs[job_id].own_priority >= max(left, default=-9) for job_id in granted), "the highest priority goes first"
        await self.take(granted)

    async def come_back(self) -> None:
        """An agent that was lost says hello, and knows of nothing."""
        if self.session is not None:
            return
        await self.connect({})
        await self.flush()
        for job in self.jobs.values():
            if job.state is State.PROCESSING:  # given back
                self._end(job, Kind.REJECTED)

    async def give_room(self, room: int) -> set[int]:
        """The jobs that the agent is granted when it has room for so many."""
        assert self.session is not None
        before = set(self.session.leases)
        self.owner.overdue = Overdue()  # here the order is strict: who goes out of turn is for tests/fire/test_overdue.py
        self.session.set_credit(self.session.assign_no, room, [])
        self.owner.hungry[self.session] = None
        await self.flush(grant=True)
        return set(self.session.leases) - before

    async def take(self, granted: set[int]) -> None:
        """They are sent to the agent, which accepts them."""
        assert self.session is not None
        for job_id in granted:
            job = self.jobs[job_id]
            assert job.state is State.WAITING
            job.seq += 1
            job.state, job.attempt, job.lost_epoch = State.PROCESSING, job.attempt + 1, 0
            assert self.session.leases[job_id].seq == job.seq and (not job.epochs or job.seq > job.epochs[-1])
            job.epochs.append(job.seq)
        await self._refill()
        assigned = {live.job_id: payload_of(body) for live, _, body, _ in self.session.take_out(self.now).assigned}
        assert assigned == {job_id: self.jobs[job_id].payload for job_id in granted}
        self.session.accept(self.session.assign_no)

    async def report(self, job_id: int, epoch: int, kind: Kind, *, permanent: bool = False, door: bool = False) -> None:
        """An outcome for any lease that was ever granted. `door`: its agent says that the handler has used a transaction which may complete the job."""
        job = self.jobs[job_id]
        self._acks.clear()
        if kind is Kind.COMPLETED and job_id >> 9 & 1 and not door:
            self.owner.end([Completions([job_id], [epoch], None, self)])
        else:
            self.owner.end([Ending(job_id, epoch, kind, self, b"" if kind is Kind.COMPLETED else None, "{}", permanent, door=door)])
        await self.flush()
        if not self._acks:
            await self._judge()
        disposition = self._acks[job_id, epoch]
        self.answers[disposition] += 1
        if job.state is State.PROCESSING and epoch == job.seq:
            assert disposition is Disposition.ACCEPTED
            self._end(job, kind, permanent=permanent)
        elif job.state is State.WAITING and job.lost_epoch == epoch and kind is Kind.COMPLETED:
            assert disposition is Disposition.ACCEPTED_LATE
            job.seq += 1
            job.state, job.lost_epoch = State.COMPLETED, 0
        else:
            assert disposition in (Disposition.SUPERSEDED, Disposition.ALREADY_APPLIED)

    async def lose(self) -> None:
        """The agent falls silent until its leases end."""
        if self.session is None:
            return
        lost = set(self.session.leases)
        self.now += LEASE_S + 1
        await self.flush()
        for job_id in lost:
            self._end(self.jobs[job_id], Kind.LOST)
        self.session = None

    async def wait_for_orphans(self) -> None:
        """After a crash nobody comes back: what was open is given back uncharged when a full lease has passed."""
        self._pass_a_lease()
        held = set(self.session.leases) if self.session is not None else set()
        await self.flush()
        for job_id, job in self.jobs.items():
            if job.state is State.PROCESSING and job_id not in held:
                self._end(job, Kind.OWNER_CHANGED)

    def _pass_a_lease(self) -> None:
        """Time passes while the agent's heartbeats go on."""
        self.pass_time(LEASE_S + 1)

    def pass_time(self, seconds: float) -> None:
        """Some seconds pass while the agent's heartbeats go on."""
        self.now += seconds
        if self.session is not None:
            reception.heartbeat(self.owner, self.session, self.session.last_no + 1, {j: live.seq for j, live in self.session.leases.items()}, self.now)

    async def change(self, verb: Verb, job_id: int, *, force: bool = False, **options: Any) -> None:
        """Abort, requeue, update or purge; options as for `changes.request`."""
        job = self.jobs[job_id]
        if verb is Verb.EXPIRE:  # it should have started by now
            self.type.settings = dataclasses.replace(self.type.settings, start_within_s=1.0)
            self.pass_time(2.0)
        options = {"include_completed": True, **options}
        asking = changes.request(self.owner, self.heads, verb, [job_id], caller=TESTER, reason="", force=force, **options)
        [change] = await self.until_done(asyncio.ensure_future(asking))
        self.type.settings = dataclasses.replace(self.type.settings, start_within_s=None)
        self._changed(job, verb, change, force, options)
        if job.state is State.GONE:
            del self.jobs[job_id]

    def _changed(self, job: Job, verb: Verb, change: Change, force: bool, options: dict[str, Any]) -> None:
        settled, first = job.state in SETTLED, bool(options.get("abort_first"))
        if verb is Verb.EXPIRE:
            allowed = not (job.state is not State.WAITING or job.attempt or job.losses or job.held)
        elif verb is Verb.UPDATE:
            allowed = job.state is State.WAITING or options["update"].payload is None
        elif verb is Verb.REQUEUE:
            allowed = first if not settled else (job.state is not State.COMPLETED or options["include_completed"]) and self.key_is_free(job)
        else:
            allowed = settled and not job.amended.hold if verb is Verb.PURGE else not settled
        assert (change.error is None) == allowed, change.error
        if change.error is not None:
            return
        if verb is Verb.UPDATE:
            self._updated(job, options["update"])
            return
        if job.state is State.PROCESSING and not force:
            job.abort, job.again = True, options["include_completed"] if verb is Verb.REQUEUE else None
            if job.again is not None:
                job.next_payload = options.get("payload")
            return
        job.lost_epoch = 0
        if verb is Verb.PURGE:
            job.seq, job.state = job.seq + 1, State.GONE
            return
        if verb is Verb.EXPIRE:
            job.seq, job.state = job.seq + 1, State.ERROR
            return
        if not settled:
            job.seq += 1
            job.state, job.abort, job.held = State.ABORTED, False, False
        if verb is Verb.REQUEUE:
            job.next_payload = options.get("payload")
            self._run_again(job)
            self.claimed(job)
            self._pass_a_lease()  # a forced abort keeps the next lease back until the old one has ended

    def key_is_free(self, job: Job) -> bool:
        """Whether no other live job has its unique key."""
        return True

    def claimed(self, job: Job) -> None:
        """It has its unique key now."""

    def _run_again(self, job: Job) -> None:
        job.seq += 1
        job.state, job.run, job.attempt, job.losses, job.again, job.lost_epoch = State.WAITING, job.run + 1, 0, 0, None, 0
        job.held = bool(job.depends_on) and not job.released
        if job.next_payload is not None:
            job.payload, job.amended, job.next_payload = job.next_payload, replace(job.amended, content_type=""), None

    def _updated(self, job: Job, update: Update) -> None:
        """An event for what is changed, but for a job that runs."""
        before, job.amended = job.amended, update.applied(job.amended, job.amended.labels or {}, 0.0)
        if (job.amended != before or update.payload is not None) and job.state is not State.PROCESSING:
            job.seq, job.lost_epoch = job.seq + 1, 0
        job.payload = update.payload if update.payload is not None else job.payload

    def _end(self, job: Job, kind: Kind, *, permanent: bool = False) -> None:
        """The model's table of endings."""
        epoch = job.seq
        job.seq += 1
        aborted, job.abort = job.abort, False
        if kind is Kind.COMPLETED:
            job.state = State.COMPLETED
            self.has_completed(job)
        elif aborted or kind is Kind.ABORTED:
            job.state = State.ABORTED
        elif kind in (Kind.FAILED, Kind.TIMED_OUT):
            job.state = State.ERROR if permanent or job.attempt >= MAX_ATTEMPTS else State.WAITING
        elif kind is Kind.LOST:
            job.attempt, job.losses = job.attempt - 1, job.losses + 1
            job.state = State.ERROR if job.losses >= MAX_LOSSES else State.WAITING
        else:
            job.attempt, job.state = job.attempt - 1, State.WAITING
        again, job.again = job.again, None
        if job.state is State.WAITING and kind in (Kind.LOST, Kind.OWNER_CHANGED):
            job.lost_epoch = epoch
        if aborted and again is not None and (again or job.state is State.ABORTED) and self.key_is_free(job):
            self._run_again(job)
            self.claimed(job)
        job.next_payload = None

    def id_of(self, job: Job) -> int:
        """The job's id."""
        return next(job_id for job_id, other in self.jobs.items() if other is job)

    def has_completed(self, job: Job) -> None:
        """Whoever depends on it hears of it, even if it runs again at once."""
        self.completed.add(self.id_of(job))

    def ack(self, job_ids: list[int], epochs: list[int], disposition: Disposition) -> None:
        """What became of outcomes."""
        self._acks.update(dict.fromkeys(zip(job_ids, epochs, strict=True), disposition))

    async def _refill(self) -> None:
        """Lets the side task read the bodies that memory does not have."""
        assert self.session is not None
        task = asyncio.ensure_future(refill_bodies(self.owner, self.heads))
        while len(self.session.out.assigned) < len(self.session.unsent):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])

    async def _judge(self, count: int = 1) -> None:
        """Lets the side task decide about outcomes that memory does not know, storing its evidence."""
        task = asyncio.ensure_future(judge_stale(self.owner, self.heads))
        while len(self._acks) < count:
            if self.owner.has_intents:
                await self.flush()
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])

    # Dependencies ------------------------------------------------------------------------------------------------------------------------------

    async def submit_tied(self, depends_on: Sequence[int]) -> None:
        """A new job that depends on others."""
        done = self.put_held(depends_on)
        await self.store_keyed()
        job_id, _ = await done
        self.jobs[job_id] = Job(held=True, depends_on=frozenset(depends_on))

    async def settle_ties(self) -> None:
        """Whoever waits hears what has become of what it waits for: in the owner and in the model."""
        self.completed |= {job_id for job_id, job in self.jobs.items() if job.state is State.COMPLETED}
        while self.owner.graph or self.owner.graph.unread:
            await self.read_standings()
            await self.flush()
        moved = True
        while moved:
            moved = False
            for job in self.jobs.values():
                unmet = job.depends_on - self.completed
                failed = any(other not in self.jobs or self.jobs[other].state in (State.ERROR, State.ABORTED) for other in unmet)
                if job.held and (failed or not unmet):
                    job.held, moved = False, True
                    job.seq += 1
                    job.released = not failed
                    job.state = State.ABORTED if failed else State.WAITING

    # Invariants --------------------------------------------------------------------------------------------------------------------------------

    def check_memory(self) -> None:
        """The owner remembers what the model says, of every job that is not settled."""
        for job_id, job in self.jobs.items():
            live = self.owner.live(job_id)
            if live is not None:
                assert (live.state, live.seq, live.run, live.attempt, live.losses) == (job.state, job.seq, job.run, job.attempt, job.losses), job_id
                assert live.priority == job.own_priority
                assert (live.abort is not None) == job.abort == (job_id in self.owner.aborting)
            else:
                assert job.state not in (State.PROCESSING,) and not (job.state is State.WAITING and job.seq)
        lines = self.owner.lines
        held = [live.line for live in self.owner.live_jobs.values() if live.line is not None and live.state is State.PROCESSING]
        assert lines.leased == len(held)
        for crowd in lines.crowds.values():
            for cell in crowd.cells.values():
                owed = sum(count for *_, cell_, count in self.owner.caps._debts if cell_ is cell)
                assert cell.running == sum(line.cell is cell for line in held) + owed
        wanted = Counter((job.type, job.state) for job in self.jobs.values())
        assert {(name, state): n for name, by_state in self.owner.counts(self.domain).items() for state, n in by_state.items() if n} == dict(wanted)

    def check_progress(self, came: dict[int, Any]) -> None:
        """What the tables say of bulk operations is what the owner remembers of them."""
        assert not came

    async def finish(self) -> None:
        """Whatever is half done at the end of a sequence comes to its end."""

    async def check_store(self) -> None:
        """The ledger, folded by the model's rules, and the SQL view say the same; and of ties, keys, operations and limits the owner's memory and SQL do."""
        from tests.support.ledger import check_ledger
        from tests.support.memory import differences, read_progress

        con = await asyncpg.connect(self._dsn)
        try:
            heads = await check_ledger(con, self.retired)
            assert await differences(self.owner, con) == []
            self.check_progress(await read_progress(con, retired=bool(self.retired)))
            view = {row["job_id"]: row for row in await con.fetch("select job_id, priority, hold, delete_at, state from headrace.job_state")}
        finally:
            await con.close()
        stored = await self.heads.heads(list(self.jobs))
        for job_id, job in self.jobs.items():
            head = heads[job_id]
            assert (head.state, head.seq, head.run, head.attempt, head.losses) == (job.state, job.seq, job.run, job.attempt, job.losses)
            row = view[job_id]
            assert (row["priority"], row["hold"]) == (job.own_priority, job.amended.hold)
            dated = job.state in SETTLED and not job.amended.hold and (job.state is not State.ERROR or job.amended.delete_after_s is not None)
            assert (row["delete_at"] is not None) == dated
            assert (stored[job_id].amended or Amended()) == job.amended
