"""Schedules in the owner's memory: which tick is due, and the flush that makes it a job.

The owner of the queue fires ticks, and nobody else: a tick is a row (schedule, nominal time) that is stored in the commit that stores its job, under the life's fence.
The same statement moves the schedule on to its next tick, if nobody changed the schedule since it was read. So:

- the broker dies before the commit: nothing is there, and the next owner, which reads the schedules anew, finds the tick due;
- it dies after the commit: the schedule stands at its next tick, and the job is in the ledger like any other;
- the answer is lost: what was stored is asked for, as with every flush;
- a schedule is changed, paused or deleted while its tick is on the way: its version has risen, the tick is passed by, and the schedule is read again.

The time is the database's. If its clock is set back, ticks that were decided do not come again: the next one is above them, and is waited for.

Written by: the flusher's task (`build`, `settle`), the side task (`run`), and calls that changed a schedule (`apply`). Rows are taken over
by their version, in any order.
"""

import asyncio
import heapq
import json
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError, NotFound, Unavailable
from headrace_broker.model.job import State
from headrace_broker.model.schedule import LABELS, Schedule, pick
from headrace_broker.shards import changes, turns
from headrace_broker.shards.hub import JobChange
from headrace_broker.shards.intents import NewJob, Verb
from headrace_broker.store.batch import Batch, FireRow, FullBody
from headrace_broker.store.heads import Heads
from headrace_broker.store.pool import ANY_FAILURE
from headrace_broker.store.schedules import ScheduleStore

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

AT_ONCE = 500
"""Ticks in one flush; what is due beyond waits for the next one."""
AGAIN_S = 0.25
"""A schedule that was passed by is looked at again after this time."""
QUEUED_S = 0.5
"""How often a tick that waits for the end of the previous job is tried."""
POLL_S = 10.0
OVERLAP = timedelta(seconds=60)
"""How far back changes are read again: longer than a change takes from its time to its commit."""
TRIM_S = 3600.0

log = structlog.get_logger("headrace.schedules")


@dataclass(slots=True, eq=False)
class Run:
    """A run that a person asked for; `done` gets its job, or None when the schedule must be read again."""

    schedule_id: int
    request_id: str
    caller: Caller
    reason: str
    done: "asyncio.Future[int | None]"


@dataclass(slots=True, eq=False)
class FireRound:
    """Ticks that one flush decides, and the job of each, which is stored if it fires."""

    batch: Batch
    rows: list[FireRow] = field(default_factory=list)
    jobs: list[NewJob] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)


class Schedules:
    """See the module. Due times are seconds since 1970 by the database's clock."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self.by_id: dict[int, Schedule] = {}
        self._names: dict[tuple[str, str], int] = {}
        self._due: list[tuple[float, int, int]] = []  # heap of (due, schedule_id, version)
        self._runs: deque[Run] = deque()
        self._deciding: list[Run] = []  # for whoever is in the middle of it, and when an error broke it off
        self._again: set[int] = set()  # to be read again
        self._wake = asyncio.Event()
        self._newest: datetime | None = None

    # What is known -----------------------------------------------------------------------------------------------------------------------------

    def find(self, domain: str, name: str) -> Schedule | None:
        """The schedule of this name, if there is one."""
        return self.by_id.get(self._names.get((domain, name), 0))

    def of_domain(self, domain: str) -> list[Schedule]:
        """The schedules of a domain, by name."""
        return sorted((s for s in self.by_id.values() if s.domain == domain), key=lambda s: s.name)

    def apply(self, rows: Iterable[Schedule]) -> None:
        """Takes rows over that are newer than what is known."""
        for row in rows:
            self._newest = max(self._newest or row.changed_at, row.changed_at)
            known = self.by_id.get(row.schedule_id)
            if known is not None and known.version >= row.version:
                continue
            if row.deleted:
                self.by_id.pop(row.schedule_id, None)
                self._names.pop((row.domain, row.name), None)
                continue
            self.by_id[row.schedule_id] = row
            self._names[row.domain, row.name] = row.schedule_id
            self._await_turn(row)
            if row.aborting_id is not None:
                self._wake.set()
        self._owner.wake.set()

    def run_now(self, schedule_id: int, request_id: str, caller: Caller, reason: str) -> "asyncio.Future[int | None]":
        """Makes a job now, whatever the schedule says of times and overlaps. See Run."""
        if self._owner.refusing is not None:
            raise self._owner.refusing
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._runs.append(Run(schedule_id, request_id, caller, reason, done))
        self._owner.wake.set()
        return done

    def idle_s(self) -> float:
        """How long nothing is due."""
        if self._runs:
            return 0.0
        return max(0.0, self._due[0][0] - self._owner.clock.now_s()) if self._due else math.inf

    def _await_turn(self, row: Schedule, not_before_s: float = 0.0) -> None:
        at = [row.due_at(row.next_at).timestamp()] if row.next_at is not None and row.paused_at is None else []
        if row.queued_at is not None and row.paused_at is None:
            at.append(self._owner.clock.now_s() + QUEUED_S)
        if at:
            heapq.heappush(self._due, (max(min(at), not_before_s), row.schedule_id, row.version))

    # Flushes -----------------------------------------------------------------------------------------------------------------------------------

    def build(self) -> FireRound | None:
        """The ticks that are due, each schedule once, and the runs that were asked for; None: there are none."""
        owner = self._owner
        now_s = owner.clock.now_s()
        if not self._runs and not (self._due and self._due[0][0] <= now_s):
            return None
        round_ = FireRound(Batch())
        owner.numbering.begin(owner.rounds)
        chosen = self._take_runs(round_, now_s)
        self._take_ticks(round_, now_s, chosen)
        round_.batch.max_id = owner.numbering.highest
        self._deciding = []
        if self.idle_s() <= 0:
            owner.wake.set()
        return round_ if round_.rows else None

    def _take_runs(self, round_: FireRound, now_s: float) -> set[int]:
        """Adds the runs that were asked for; returns the schedules that have had their turn with it."""
        now, chosen, later = datetime.fromtimestamp(now_s, UTC), set[int](), list[Run]()
        while self._runs and len(round_.rows) < AT_ONCE:
            run = self._runs.popleft()
            self._deciding.append(run)
            schedule = self.by_id.get(run.schedule_id)
            if run.schedule_id in chosen:
                later.append(run)
            elif schedule is None or not self._add(round_, schedule, "manual", now, None, run.request_id):
                _resolve(run, None)
            else:
                chosen.add(run.schedule_id)
                round_.runs.append(run)
                job_id = round_.batch.job_id[-1]
                round_.batch.audit.append(run.caller.entry("schedule.run", f"schedule/{schedule.name}", reason=run.reason, after={"job_id": str(job_id)}))
        self._runs.extendleft(reversed(later))
        return chosen

    def _take_ticks(self, round_: FireRound, now_s: float, chosen: set[int]) -> None:
        """Adds the ticks that are due. A schedule that is `chosen` already, or has to wait (`_add_tick`), is looked at again in a moment."""
        now, again = datetime.fromtimestamp(now_s, UTC), list[tuple[float, int, int]]()
        while self._due and self._due[0][0] <= now_s and len(round_.rows) < AT_ONCE:
            _, schedule_id, version = heapq.heappop(self._due)
            schedule = self.by_id.get(schedule_id)
            if schedule is None or schedule.version != version:
                continue
            if schedule_id in chosen or not self._add_tick(round_, schedule, now):
                again.append((now_s + AGAIN_S, schedule_id, version))
            chosen.add(schedule_id)
        for due in again:
            heapq.heappush(self._due, due)

    def _add_tick(self, round_: FireRound, schedule: Schedule, now: datetime) -> bool:
        """As `_add`, the tick of a schedule that is due, if there is one. It waits until the abort that the tick before wants is asked for: the row remembers one job."""
        if schedule.aborting_id is not None:
            return False
        tick = pick(schedule, now)
        if tick is not None:
            return self._add(round_, schedule, "missed" if tick.missed else "tick", tick.nominal_at, tick.next_at, "")
        if schedule.queued_at is not None:
            return self._add(round_, schedule, "queued", schedule.queued_at, None, "")
        self._await_turn(schedule)  # the clock was set back
        return True

    def _add(self, round_: FireRound, schedule: Schedule, verb: str, nominal_at: datetime, next_at: datetime | None, request_id: str) -> bool:
        """Appends a tick and the job that it may become; False: its job type is not known here yet."""
        entry = self._owner.types.by_id.get(schedule.type_id)
        if entry is None:
            return False
        spec = schedule.spec
        labels = json.dumps({**(spec.labels or {}), LABELS[0]: schedule.name, LABELS[1]: nominal_at.isoformat().replace("+00:00", "Z")})
        job: NewJob = (entry, spec.priority, 0.0, FullBody(spec.payload, spec.content_type or None, spec.instance_id or None, labels))
        self._owner.numbering.add_job(round_.batch, job)
        round_.rows.append((schedule.schedule_id, schedule.version, verb, nominal_at, next_at, request_id))
        round_.jobs.append(job)
        return True

    def settle(self, round_: FireRound, fired: str | None, stored: frozenset[int]) -> None:
        """The flush is durable: what fired is ready. `fired` is what the statement returned; None: the answer was lost, and `stored` are the jobs that are there."""
        moved = {row[0]: row for row in json.loads(fired)} if fired is not None else {}
        jobs = {row[3] for row in moved.values() if row[3] is not None} if fired is not None else stored
        now_s = self._owner.clock.now_s()
        for (schedule_id, _, verb, nominal_at, _, _), job, job_id in zip(round_.rows, round_.jobs, round_.batch.job_id, strict=True):
            if job_id in jobs:
                self._enter(job_id, job, now_s)
            known, row = self.by_id.get(schedule_id), moved.get(schedule_id)
            if known is not None and row is not None:
                self._move(known, row, nominal_at)
            elif known is not None and verb == "queued" and fired is not None:
                self._await_turn(known)  # the previous job still lives
            elif row is None:
                self._again.add(schedule_id)
                self._wake.set()
        if jobs:
            self._owner.grant_soon()
        by_schedule = {row[0]: job_id for row, job_id in zip(round_.rows, round_.batch.job_id, strict=True)}
        for run in round_.runs:
            job_id = by_schedule[run.schedule_id]
            _resolve(run, job_id if job_id in jobs else None)

    def _move(self, known: Schedule, row: list[Any], nominal_at: datetime) -> None:
        """What the flush says of a schedule that it moved on."""
        _, version, outcome, job_id, next_s, ticked_s, queued_s, aborting_id = row
        if known.version >= version:
            return
        values = {name: getattr(known, name) for name in Schedule.__dataclass_fields__}
        values |= {"version": version, "next_at": _time(next_s), "ticked_at": _time(ticked_s), "queued_at": _time(queued_s), "aborting_id": aborting_id}
        if outcome == "fired":
            values |= {"fired_at": nominal_at, "last_job_id": job_id}
        values["fired"] += outcome in ("fired", "manual")
        values["skipped"] += outcome in ("skipped", "missed")
        self.apply([Schedule(**values)])

    def _enter(self, job_id: int, job: NewJob, now_s: float) -> None:
        owner = self._owner
        entry, _, _, body = job
        owner.counted[entry.type_id, State.WAITING, 0] += 1
        owner.tally.submitted(now_s, entry.type_id, 1)
        owner.bodies.put(entry.type_id, job_id, body)
        turns.enter_job(owner, job_id, job)
        if owner.hub.active:
            instance_id = body.instance_id if isinstance(body, FullBody) else None
            owner.hub.publish([JobChange(job_id, entry.type_id, State.WAITING, 0, "submitted", instance_id)])

    def refuse(self, error: Exception) -> None:
        """Nothing of what was asked for is done."""
        for run in (*self._deciding, *self._runs):
            if not run.done.done():
                run.done.set_exception(error)
        self._deciding = []
        self._runs.clear()

    # Beside the flushes ------------------------------------------------------------------------------------------------------------------------

    async def load(self, store: ScheduleStore) -> None:
        """Reads all schedules, before the owner serves."""
        self.apply(await store.all())

    async def run(self, store: ScheduleStore, heads: Heads, monotonic: Callable[[], float]) -> None:
        """Reads again what was passed by, asks for the aborts that ticks want, finds what others changed, forgets what is old; until cancelled."""
        next_trim = monotonic() + TRIM_S
        next_poll = monotonic() + POLL_S
        while True:
            try:
                async with asyncio.timeout(max(0.0, next_poll - monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                next_poll = monotonic() + POLL_S
            self._wake.clear()
            try:
                if self._again:
                    await asyncio.sleep(AGAIN_S)
                    await self._read_again(store)
                for schedule in [s for s in self.by_id.values() if s.aborting_id is not None]:
                    await self._abort_previous(store, heads, schedule)
                self.apply(await store.all(self._newest - OVERLAP if self._newest is not None else None))
                if monotonic() >= next_trim:
                    next_trim = monotonic() + TRIM_S
                    if await store.trim():
                        next_trim = 0.0  # the next time round
            except (BrokerError, *ANY_FAILURE) as error:
                log.warning("schedules not looked after; it will be tried again", reason=f"{type(error).__name__}: {error}")
                await asyncio.sleep(AGAIN_S)
                self._wake.set()

    async def _read_again(self, store: ScheduleStore) -> None:
        wanted = list(self._again)
        rows = {row.schedule_id: row for row in await store.get(wanted)}
        for schedule_id in wanted:
            self._again.discard(schedule_id)
            known, row = self.by_id.get(schedule_id), rows.get(schedule_id)
            if row is not None and (known is None or row.version > known.version):
                self.apply([row])
            elif row is None and known is not None:
                del self.by_id[schedule_id]
                self._names.pop((known.domain, known.name), None)
            elif known is not None:
                self._await_turn(known, self._owner.clock.now_s() + AGAIN_S)  # somebody holds its row
        self._owner.wake.set()

    async def _abort_previous(self, store: ScheduleStore, heads: Heads, schedule: Schedule) -> None:
        """Asks that the job before the newest one end. Remembered in the row until it is asked for, so a broker that dies here leaves it to the next one."""
        assert schedule.aborting_id is not None
        caller = Caller(f"schedule {schedule.name}", schedule.domain, f"schedule-{schedule.schedule_id}-{schedule.version}")
        reason = f"the next run of schedule {schedule.name} is due"
        [change] = await changes.request(self._owner, heads, Verb.ABORT, [schedule.aborting_id], caller=caller, reason=reason)
        if change.error is not None and isinstance(change.error, Unavailable):
            raise change.error
        if change.error is not None and not isinstance(change.error, NotFound):
            log.info("a previous job was over before it was aborted", schedule=schedule.name, job_id=schedule.aborting_id)
        await store.aborted(schedule.schedule_id, schedule.aborting_id)
        self.apply(await store.get([schedule.schedule_id]))


def _resolve(run: Run, job_id: int | None) -> None:
    if not run.done.done():
        run.done.set_result(job_id)


def _time(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(round(unix_s, 6), UTC)
