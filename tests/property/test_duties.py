"""Random sequences of what the broker does by itself while jobs come and go: ticks of schedules, jobs that did not start in time, delete dates, pages of bulk operations.

Brokers die between everything, and in the middle of it: with a tick that is decided and not stored, or stored and not known, and between two pages.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from headrace_broker.actions.search import Search
from headrace_broker.model.amended import Update
from headrace_broker.model.errors import Busy, DatabaseUnavailable, InvalidState
from headrace_broker.model.filter import JobFilter
from headrace_broker.model.ids import lowest_id_at
from headrace_broker.model.job import SETTLED, Kind, State
from headrace_broker.model.operation import Action, Deed, OperationState, Plan
from headrace_broker.model.schedule import Spec, When
from headrace_broker.shards import operations
from headrace_broker.shards.intents import Change, Verb
from headrace_broker.shards.operations import Operations
from headrace_broker.shards.starting import Starting
from headrace_broker.store import partitions
from headrace_broker.store.checkpoints import CheckpointStore
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.operations import OperationStore
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.retire import LockBusy, Retirement
from headrace_broker.store.schedules import ScheduleStore
from headrace_broker.store.search import Finder
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.property import case
from tests.property.machine import TESTER, Job, Machine
from tests.property.test_machine import KINDS
from tests.support.memory import Came
from tests.support.processes import until

START_WITHIN_S = 50.0
EVERY_S = 300
AHEAD_S = 600.0  # by which the database's clock may be ahead of the one that the owner is given here, since an example takes time
LATE_S = 60.0
MARGIN_S = 600.0
PAGE = 3
LIVE = (State.WAITING, State.PROCESSING)
SCHEDULES = {"each": ("allow", "all"), "newest": ("skip", "once"), "one by one": ("queue", "once"), "punctual": ("allow", "skip"), "last": ("abort", "once")}
MAX_MISSED = 3
DEEDS = (
    Deed(Action.REQUEUE), Deed(Action.REQUEUE, include_completed=True), Deed(Action.ABORT), Deed(Action.PURGE), Deed(Action.PRIORITY, priority=1), Deed(Action.HOLD),
    Deed(Action.RELEASE),
)  # fmt: skip
FILTERS = (frozenset[State](), frozenset(LIVE), frozenset({State.ERROR, State.ABORTED}), frozenset({State.COMPLETED, State.WAITING}))


@dataclass(slots=True)
class Schedule:
    """What the model knows of one. `next_s`: its next tick; `queued_s`: a tick that waits for the end of the job before; `last`: the newest job of a tick."""

    schedule_id: int
    overlap: str
    missed: str
    next_s: int
    queued_s: int | None = None
    last: int | None = None
    paused: bool = False


@dataclass(slots=True)
class Bulk:
    """An operation. `came`: as its pages say."""

    operation_id: int
    plan: Plan
    frozen_id: int
    after: int = 0
    matched: int = 0
    done: int = 0
    skipped: int = 0
    state: OperationState = OperationState.RUNNING


class Duties(Machine):
    """`schedules` by name; `fires`: (schedule_id, tick) -> what became of it; `bulks`: operations, the oldest first; `hidden`: jobs past their delete date."""

    async def prepare(self) -> None:
        await self.types.override(self.type, {"timeout_s": 1e6}, [], caller=TESTER)
        await self.add_type("late", start_within_s=START_WITHIN_S, timeout_s=1e6)
        self.schedules: dict[str, Schedule] = {}
        self.fires: dict[tuple[int, int], str] = {}
        self.bulks: list[Bulk] = []
        self.hidden: set[int] = set()
        self.schedule_store, self.operation_store = ScheduleStore(self.pool), OperationStore(self.pool)

    async def crash(self, *, check: bool = True, full: bool = False) -> None:
        """What duties have in mind goes with the broker."""
        await super().crash(check=check, full=full)
        self.starting = Starting(self.owner, self.heads)
        self.operations = Operations(self.owner, self.heads, self.operation_store, self._find)

    async def die(self) -> None:
        """The same, and the agent comes back with what it has."""
        await self.crash()
        await self.connect({job_id: job.seq for job_id, job in self.jobs.items() if job.state is State.PROCESSING})

    async def _find(self, domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
        """A search goes on until it is complete, however slow this machine is."""
        search, found, at = Search(self.owner, Finder(self.pool)), list[int](), after
        while True:
            try:
                more, follows = await search.ids(domain, wanted, after=at, until_id=until_id, limit=limit - len(found))
            except (Busy, DatabaseUnavailable):  # there was no time to look at anything
                continue
            found += more
            if follows is None or len(found) >= limit:
                return found, follows
            at = follows

    def now_s(self) -> float:
        """The owner's idea of the database's clock."""
        return self.owner.clock.now_s()

    # Jobs that must start in time --------------------------------------------------------------------------------------------------------------

    async def submit_late(self, count: int) -> None:
        """Jobs that must start within a time."""
        entry = self.types.find("default", "late")
        assert entry is not None
        done = self.owner.submit([(entry, 0, 0.0, b"{}")] * count, 2 * count)
        await self.flush()
        for job_id in done.result():
            self.jobs[job_id] = Job(type="late")

    async def end_late(self, young: int) -> None:
        """The time of all that wait is over, but for some that come now."""
        await self.grow_old(START_WITHIN_S + AHEAD_S)
        late = [job for job in self.jobs.values() if job.type == "late" and job.state is State.WAITING and not job.attempt and not job.losses]
        if young:
            await self.submit_late(young)
        assert await self.until_done(asyncio.ensure_future(self.starting.run_once())) == len(late)
        for job in late:
            job.seq, job.state, job.lost_epoch = job.seq + 1, State.ERROR, 0

    # Delete dates ------------------------------------------------------------------------------------------------------------------------------

    async def grow_old(self, seconds: float) -> None:
        """Time passes."""
        self.pass_time(seconds)
        await self.make_partitions()
        await self.flush()
        await self._hide()

    async def settle_ties(self) -> None:
        await super().settle_ties()
        await self._hide()

    async def _hide(self) -> None:
        """Settled jobs whose date has come are not there any more."""
        rows = await self.pool.fetch("select job_id, delete_minute from headrace.event e where seq = (select max(seq) from headrace.event l where l.job_id = e.job_id)")
        minute = {row["job_id"]: row["delete_minute"] for row in rows}
        for job_id, job in list(self.jobs.items()):
            if job.state in SETTLED and minute[job_id] is not None and minute[job_id] * 60 <= self.now_s():
                assert not job.amended.hold
                assert job.state is not State.ERROR or job.amended.delete_after_s is not None
                self.hidden.add(job_id)
                del self.jobs[job_id]

    async def retire(self) -> None:
        """What is due is removed for good, and nothing else is."""
        heads = await self.pool.fetch(
            "select distinct on (j.job_id) j.job_id, j.type_id, coalesce(e.state, 1) as state, e.delete_minute, e.at"
            " from headrace.job j left join headrace.event e using (job_id) order by j.job_id, e.seq desc"
        )
        due = int((self.now_s() - MARGIN_S) // 60)
        known = await CheckpointStore(self.pool, 0).find()  # who takes over reads there what nothing happened to since
        gone = [row for row in heads if row["state"] == State.GONE or (row["state"] in SETTLED and row["delete_minute"] is not None and row["delete_minute"] < due)]
        gone = [row for row in gone if known is not None and row["at"] < known.floor]
        retirement, untouched = Retirement(self.pool), list[FactRange]()
        for range_ in await partitions.ranges(self.pool):

            async def retired(range_: FactRange = range_) -> bool:
                with contextlib.suppress(LockBusy):
                    found = await retirement.look(range_, due_minute=due, keyed_from=lowest_id_at(self.now_s() - 86_400), most_kept=100_000)
                    if found.kept:
                        await retirement.retire(range_, found)
                    elif range_.hi <= lowest_id_at(self.now_s()):
                        await retirement.retire(range_, found)
                        await retirement.drop(range_)
                    else:  # jobs are still added to it, so that the broker would not look at it yet
                        untouched.append(range_)
                    return True
                return False

            await until(retired, what="the lock of a range")
        gone = [row for row in gone if not any(range_.lo <= row["job_id"] < range_.hi and row["job_id"] & 7 == range_.class_ for range_ in untouched)]
        left = {row["job_id"] for row in await self.pool.fetch("select job_id from headrace.job")}
        assert left == {row["job_id"] for row in heads} - {row["job_id"] for row in gone} and self.jobs.keys() <= left
        for row in gone:
            self.retired[row["type_id"], row["state"], (row["delete_minute"] or 0) if row["state"] != State.GONE else 0] += 1

    # Schedules ---------------------------------------------------------------------------------------------------------------------------------

    async def put_schedule(self, name: str) -> None:
        """One that ticks every five minutes."""
        overlap, missed = SCHEDULES[name]
        spec = Spec(When(interval_s=EVERY_S), "work", b"{}", overlap=overlap, missed=missed, max_missed=MAX_MISSED)
        now_s = self.now_s()
        stored, _ = await self.schedule_store.put(name, spec, self.type.type_id, datetime.fromtimestamp(now_s, UTC), caller=TESTER, reason="")
        self.owner.schedules.apply([stored])
        self.schedules[name] = Schedule(stored.schedule_id, overlap, missed, (int(now_s) // EVERY_S + 1) * EVERY_S)

    async def pause_schedule(self, name: str, paused: bool) -> None:
        """What passes while it is paused is not missed."""
        known, now_s = self.schedules[name], self.now_s()
        if known.paused == paused:
            return
        stored = await self.schedule_store.pause(name, paused, datetime.fromtimestamp(now_s, UTC), caller=TESTER, reason="")
        self.owner.schedules.apply([stored])
        known.paused, known.next_s = paused, (int(now_s) // EVERY_S + 1) * EVERY_S

    async def tick(self, seconds: float, end: str) -> None:
        """Time passes, and what is due fires, round after round. `end`: of the first round the broker dies before or after the commit, or its answer is lost."""
        assert self.ledger is not None
        await self.grow_old(seconds)
        while (round_ := self.owner.schedules.build()) is not None:
            if end == "before":
                await self.die()
            else:
                flushed = await self.ledger.flush_fires(round_.batch, round_.rows)
                self.checkpoints.flushed(flushed.at, changed=True)
                decided = [self._decided(name) for schedule_id, *_ in round_.rows for name, known in self.schedules.items() if known.schedule_id == schedule_id]
                if end == "after":
                    await self._take_fires(decided)
                    await self.die()
                else:
                    lost = end == "lost"
                    self.owner.schedules.settle(round_, None if lost else flushed.fired, await self.ledger.stored(round_.batch.job_id) if lost else frozenset())
                    await self._take_fires(decided)
            end = ""
            await self._look_after()
        await self._abort_previous()

    async def _look_after(self) -> None:
        """The side task reads again what was passed by."""
        if self.owner.schedules._again:
            await self.owner.schedules._read_again(self.schedule_store)
            self.pass_time(1.0)

    def _decided(self, name: str) -> tuple[Schedule, int, str]:
        """(schedule, tick, outcome) of what is due."""
        known, now_s = self.schedules[name], self.now_s()
        lives = known.last is not None and known.last in self.jobs and self.jobs[known.last].state in LIVE
        if known.next_s > now_s or known.paused:
            assert known.queued_s is not None
            tick, verb = known.queued_s, "queued"
        else:
            due = list(range(known.next_s, int(now_s) + 1, EVERY_S))
            tick = due[-MAX_MISSED:][0] if known.missed == "all" else due[-1]
            verb = "missed" if known.missed == "skip" and now_s - tick > LATE_S else "tick"
            known.next_s = tick + EVERY_S
        if verb == "missed":
            return known, tick, "missed"
        if not lives or known.overlap in ("allow", "abort"):
            outcome = "fired"
        elif verb == "queued":
            return known, tick, "waits"
        else:
            outcome = "queued" if known.overlap == "queue" and known.queued_s is None else "skipped"
        known.queued_s = tick if outcome == "queued" else None if verb == "queued" else known.queued_s
        return known, tick, outcome

    async def _take_fires(self, decided: list[tuple[Schedule, int, str]]) -> None:
        """Each tick is there once, as the model has it; what fired is a job."""
        rows = await self.pool.fetch("select schedule_id, nominal_at, outcome, job_id from headrace.schedule_fire")
        stored = {(row["schedule_id"], int(row["nominal_at"].timestamp())): row for row in rows}
        assert len(stored) == len(rows)
        for known, tick, outcome in decided:
            if outcome in ("queued", "waits"):
                continue
            assert (known.schedule_id, tick) not in self.fires
            self.fires[known.schedule_id, tick] = outcome
            if outcome == "fired":
                known.last = stored[known.schedule_id, tick]["job_id"]
                assert known.last is not None and known.last not in self.jobs
                self.jobs[known.last] = Job()
        assert {key: row["outcome"] for key, row in stored.items()} == self.fires

    async def _abort_previous(self) -> None:
        """The job before the newest one is to end, where the schedule says so; whoever takes over remembers it."""
        for schedule in [schedule for schedule in self.owner.schedules.by_id.values() if schedule.aborting_id is not None]:
            before = schedule.aborting_id
            assert before is not None
            await self.until_done(asyncio.ensure_future(self.owner.schedules._abort_previous(self.schedule_store, self.heads, schedule)))
            job = self.jobs.get(before)
            if job is not None and job.state in LIVE:
                self._changed(job, Verb.ABORT, Change(before, None), False, {"include_completed": True})

    # Bulk operations ---------------------------------------------------------------------------------------------------------------------------

    async def start_bulk(self, deed: Deed, states: frozenset[State]) -> None:
        """Jobs that come from now on are no members."""
        plan = Plan(JobFilter(states=states), deed, "", all_jobs=not states)
        frozen_id = self.owner.numbering.newest
        stored = await self.operation_store.add(plan, frozen_id=frozen_id, expected=0, expected_complete=False, start_key="", caller=TESTER)
        self.bulks.append(Bulk(stored.operation_id, plan, frozen_id))

    async def set_bulk(self, bulk: Bulk, state: OperationState) -> None:
        """Stops it, or lets it go on."""
        async with self.operations.at_rest():
            await self.operation_store.set(bulk.operation_id, "set", state=state, caller=TESTER, reason="")
        bulk.state = state

    async def run_bulks(self) -> None:
        """A page of each operation that goes on, the oldest first. Its members are those that match now, since what was found before was forgotten."""
        async with self.operations.at_rest():
            pass
        for bulk in [bulk for bulk in self.bulks if bulk.state is OperationState.RUNNING]:
            [operation] = [operation for operation in await self.operation_store.running() if operation.operation_id == bulk.operation_id]
            wanted = bulk.plan.wanted.wanted_states
            members = [job_id for job_id, job in sorted(self.jobs.items()) if bulk.after < job_id <= bulk.frozen_id and job.state in wanted]
            page, last = members[:PAGE], len(members) <= PAGE
            pace = self.operations._paces.setdefault(bulk.operation_id, operations.Pace())
            await self.until_done(asyncio.ensure_future(self.operations._page(operation, pace, self.operations._rests)))
            rows = await self.pool.fetch("select job_id, code from headrace.operation_skip where operation_id = $1 and job_id > $2", bulk.operation_id, bulk.after)
            skips = {row["job_id"]: row["code"] for row in rows}
            assert skips.keys() <= set(page)
            for job_id in page:
                self._done(bulk.plan.deed, job_id, skips.get(job_id))
            bulk.after = bulk.frozen_id if last else page[-1]
            bulk.matched, bulk.done, bulk.skipped = bulk.matched + len(page), bulk.done + len(page) - len(skips), bulk.skipped + len(skips)
            bulk.state = OperationState.FINISHED if last else bulk.state
            await self._hide()

    def _done(self, deed: Deed, job_id: int, skip: str | None) -> None:
        """What an operation did to one member."""
        job = self.jobs[job_id]
        verb, update = operations.as_change(deed)
        if verb is Verb.UPDATE:
            assert update is not None
            assert (skip == "UNCHANGED") == (update.applied(job.amended, job.amended.labels or {}, 0.0) == job.amended)
            assert skip in (None, "UNCHANGED")
        error = InvalidState("skipped") if skip is not None and skip != "UNCHANGED" else None
        self._changed(job, verb, Change(job_id, None, error), False, {"include_completed": deed.include_completed, "update": update})
        if job.state is State.GONE:
            del self.jobs[job_id]

    def check_progress(self, came: dict[int, Came]) -> None:
        for bulk in self.bulks:
            assert came[bulk.operation_id] == Came(bulk.state.value, bulk.matched, bulk.done, bulk.skipped, 0, ())
            standing = self.operations._standings.get(bulk.operation_id)
            if standing is not None:
                assert (standing.matched, standing.done, standing.skipped, standing.failed, standing.todo) == (bulk.matched, bulk.done, bulk.skipped, 0, [])

    async def finish(self) -> None:
        """Operations come to their end."""
        for bulk in self.bulks:
            if bulk.state is OperationState.STOPPED:
                await self.set_bulk(bulk, OperationState.RUNNING)
        while any(bulk.state is OperationState.RUNNING for bulk in self.bulks):
            await self.run_bulks()


class ByItself(case.Case):
    """Each rule does several things, so that few steps come far."""

    driver = Duties
    machine: Duties

    @rule(data=st.data(), count=st.integers(1, 4), room=st.integers(0, 3), kinds=st.lists(KINDS, max_size=3))
    def work(self, data: Any, count: int, room: int, kinds: list[Kind]) -> None:
        machine = self.machine
        self.run(machine.submit(count))
        self.run(machine.grant(room))
        for kind in kinds:
            job_id = self.pick(data, State.PROCESSING)
            if job_id is not None:
                self.run(machine.report(job_id, machine.jobs[job_id].seq, kind, permanent=True))

    @rule(late=st.integers(0, 2), young=st.integers(0, 1))
    def end_late(self, late: int, young: int) -> None:
        self.run(self.machine.submit_late(late) if late else self.machine.flush())
        self.run(self.machine.end_late(young))

    @rule(data=st.data(), keep_s=st.sampled_from([3600.0, 7200.0]), hold=st.booleans(), hours=st.sampled_from([0.0, 1.5, 4.0]), retire=st.booleans())
    def keep(self, data: Any, keep_s: float, hold: bool, hours: float, retire: bool) -> None:
        for states in (SETTLED, LIVE):
            job_id = self.pick(data, *states)
            if job_id is not None:
                self.run(self.machine.change(Verb.UPDATE, job_id, update=Update(delete_after_s=keep_s, hold=hold)))
        self.run(self.machine.grow_old(hours * 3600.0))
        if retire:
            self.run(self.machine.retire())

    @rule(name=st.sampled_from(sorted(SCHEDULES)), seconds=st.sampled_from([30.0, 200.0, 700.0]), end=st.sampled_from(["", "before", "after", "lost"]))
    def tick(self, name: str, seconds: float, end: str) -> None:
        if name not in self.machine.schedules:
            self.run(self.machine.put_schedule(name))
        self.run(self.machine.tick(seconds, end))

    @precondition(lambda self: self.machine.schedules)
    @rule(data=st.data(), paused=st.booleans())
    def pause_schedule(self, data: Any, paused: bool) -> None:
        self.run(self.machine.pause_schedule(data.draw(st.sampled_from(sorted(self.machine.schedules))), paused))

    @rule(deed=st.sampled_from(DEEDS), states=st.sampled_from(FILTERS), pages=st.integers(1, 2))
    def bulk(self, deed: Deed, states: frozenset[State], pages: int) -> None:
        self.run(self.machine.start_bulk(deed, states))
        for _ in range(pages):
            self.run(self.machine.run_bulks())

    @precondition(lambda self: any(bulk.state is not OperationState.FINISHED for bulk in self.machine.bulks))
    @rule(data=st.data(), state=st.sampled_from([OperationState.STOPPED, OperationState.RUNNING]))
    def set_bulk(self, data: Any, state: OperationState) -> None:
        open_ones = [bulk for bulk in self.machine.bulks if bulk.state is not OperationState.FINISHED]
        self.run(self.machine.set_bulk(open_ones[data.draw(st.integers(0, len(open_ones) - 1))], state))
        self.run(self.machine.run_bulks())

    @rule(checkpoint=st.booleans(), back=st.booleans(), full=st.booleans())
    def crash(self, checkpoint: bool, back: bool, full: bool) -> None:
        if checkpoint:
            self.run(self.machine.checkpoint(store=True, publish=True))
        case.crash(self, back=back, full=full)

    @invariant()
    def memory_agrees(self) -> None:
        if hasattr(self, "machine"):
            self.run(self.machine.settle_ties())
            self.machine.check_memory()


@case.LONG
def test_every_sequence_of_what_the_broker_does_by_itself_is_one_that_the_model_allows(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "PAGE", PAGE)
    case.check(ByItself, postgres, examples=6, steps=30)
