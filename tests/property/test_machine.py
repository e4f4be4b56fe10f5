"""Random sequences of everything that can happen to single jobs: memory, ledger, SQL view and model agree after each."""

import asyncio
from typing import Any
from unittest import mock

from headrace_broker.model.amended import Update
from headrace_broker.model.job import Kind, State
from headrace_broker.shards import changes
from headrace_broker.shards import owner as owner_module
from headrace_broker.shards.intents import Change, Completions, PlainJobs, Verb
from headrace_broker.shards.overdue import Overdue
from headrace_broker.store.embedded import EmbeddedPostgres
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.property import case
from tests.property.machine import TESTER, Job, Machine

KINDS = st.sampled_from([Kind.COMPLETED, Kind.FAILED, Kind.TIMED_OUT, Kind.RELEASED, Kind.ABORTED])
ASKED = st.sampled_from([None, Verb.UPDATE, Verb.ABORT])
RAISED = Update(priority=1)
KEEP_S = st.none() | st.sampled_from([3600.0, 7200.0])


class Lives(case.Case):
    """Rules that other cases take over."""

    @rule(count=st.integers(1, 4))
    def submit(self, count: int) -> None:
        self.run(self.machine.submit(count))

    @rule(room=st.integers(1, 4))
    def grant(self, room: int) -> None:
        self.run(self.machine.grant(room))

    @precondition(lambda self: any(job.epochs for job in self.machine.jobs.values()))
    @rule(data=st.data(), kind=KINDS, permanent=st.booleans(), newest=st.booleans(), door=st.booleans())
    def report(self, data: Any, kind: Kind, permanent: bool, newest: bool, door: bool) -> None:
        job_id = self.pick(data, granted=True)
        if job_id is not None:
            epochs = self.machine.jobs[job_id].epochs
            epoch = epochs[-1 if newest else data.draw(st.integers(0, len(epochs) - 1))]
            self.run(self.machine.report(job_id, epoch, kind, permanent=permanent, door=door))

    @rule(data=st.data(), force=st.booleans(), include_completed=st.booleans(), payload=st.none() | st.sampled_from([b"1", b"[]"]))
    def abort_and_requeue(self, data: Any, force: bool, include_completed: bool, payload: bytes | None) -> None:
        job_id = self.pick(data)
        if job_id is not None:
            self.run(self.machine.change(Verb.REQUEUE, job_id, force=force, abort_first=True, include_completed=include_completed, payload=payload))

    @rule(store=st.booleans(), publish=st.booleans())
    def checkpoint(self, store: bool, publish: bool) -> None:
        self.run(self.machine.checkpoint(store=store, publish=publish))

    @rule(back=st.booleans(), full=st.booleans())
    def crash(self, back: bool, full: bool) -> None:
        case.crash(self, back=back, full=full)

    @invariant()
    def memory_agrees(self) -> None:
        if hasattr(self, "machine"):
            self.run(self.machine.settle_ties())
            self.machine.check_memory()


class WithTerms(Machine):
    """Some of its jobs have terms, and two rounds may be under way."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.terms = True

    async def overlap(self, first: int, second: int, room: int, *, stored: int, change: tuple[Verb, int] | None) -> bool:
        """Two rounds under way: while the one that submits `first` jobs is being stored the next one is decided, which submits `second`, completes what runs, and grants.
        `change`: what is asked for when it is decided, of which job; it joins that round. `stored`: how many of them are, before the broker dies; 2: it does not.
        Returns whether it died.
        """
        await self.come_back()
        assert self.session is not None and self.ledger is not None
        ending = [job_id for job_id in self.session.leases if not self.jobs[job_id].abort][:2]
        self.owner.submit(PlainJobs(self.type, 0, [b"{}"] * first), 2 * first)
        rounds = [self.owner.build(grant=False)]
        done = self.owner.submit(PlainJobs(self.type, 0, [b"{}"] * second), 2 * second)
        self.owner.end([Completions(ending, [self.jobs[job_id].seq for job_id in ending], None, self)])
        before = set(self.session.leases)
        self.owner.overdue = Overdue()
        self.session.set_credit(self.session.assign_no, room, [])
        self.owner.hungry[self.session] = None
        with mock.patch.object(owner_module, "AHEAD_ROWS", 1):
            ahead = self.owner.build_ahead()
        if ahead is not None:
            self.ledger.pack(ahead.batch)
            rounds.append(ahead)
        asking = await self._ask(*change) if change is not None else None
        for round_ in rounds[:stored]:
            if asking is not None and round_ is ahead:
                self.owner.settle(rounds[0])
                self.owner.add_changes(ahead)
            self.checkpoints.flushed((await self.ledger.flush(round_.batch)).at, changed=True)
            self.jobs.update({job_id: Job() for job_id in round_.batch.job_id})
        if stored < len(rounds):
            if asking is not None:
                asking.cancel()
                await asyncio.wait([asking])
            await self.crash()
            return True
        for round_ in rounds:
            if round_.number > self.owner.stored:
                self.owner.settle(round_)
        if ahead is None:  # not all that is pending is plain
            await self.flush(grant=True)
        self.jobs.update({job_id: Job() for job_id in done.result()})
        for job_id in ending:
            self._end(self.jobs[job_id], Kind.COMPLETED)
        await self.take(set(self.session.leases) - before)
        if change is not None and asking is not None:
            [done_] = await self.until_done(asking)
            self._changed(self.jobs[change[1]], change[0], done_, False, {"update": RAISED})
        return False

    async def _ask(self, verb: Verb, job_id: int) -> "asyncio.Task[list[Change]]":
        """Asks for a change; returns once it waits to be decided."""
        update = RAISED if verb is Verb.UPDATE else None
        asking = asyncio.ensure_future(changes.request(self.owner, self.heads, verb, [job_id], caller=TESTER, reason="", update=update))
        while not (self.owner.has_changes or asking.done()):
            await asyncio.sleep(0)
        return asking


class Jobs(Lives):
    driver = WithTerms
    machine: WithTerms

    @rule(data=st.data(), first=st.integers(1, 3), second=st.integers(1, 3), room=st.integers(0, 6), stored=st.sampled_from([0, 1, 2, 2]), back=st.booleans(), verb=ASKED)
    def overlap(self, data: Any, first: int, second: int, room: int, stored: int, back: bool, verb: Verb | None) -> None:
        self.run(self.machine.come_back())
        job_id = self.pick(data) if verb is not None and self.machine.jobs else None
        change = (verb, job_id) if verb is not None and job_id is not None else None
        held = {job_id: job.seq for job_id, job in self.machine.jobs.items() if job.state is State.PROCESSING}
        if self.run(self.machine.overlap(first, second, room, stored=stored, change=change)):
            case.go_on(self, held, back=back)

    @precondition(lambda self: self.machine.jobs)
    @rule(data=st.data(), count=st.integers(1, 3))
    def submit_held(self, data: Any, count: int) -> None:
        chosen = {self.pick(data) for _ in range(count)}
        self.run(self.machine.submit_tied([job_id for job_id in chosen if job_id is not None]))

    @rule(data=st.data(), priority=st.none() | st.integers(-2, 2), hold=st.none() | st.booleans(), payload=st.none() | st.sampled_from([b"2", b"{}"]), keep_s=KEEP_S)
    def update(self, data: Any, priority: int | None, hold: bool | None, payload: bytes | None, keep_s: float | None) -> None:
        job_id = self.pick(data)
        if job_id is not None:
            self.run(self.machine.change(Verb.UPDATE, job_id, update=Update(priority=priority, hold=hold, payload=payload, delete_after_s=keep_s)))

    @rule(data=st.data(), label=st.sampled_from(["", "red", "blue"]), default_delete=st.booleans())
    def label(self, data: Any, label: str, default_delete: bool) -> None:
        job_id = self.pick(data)
        if job_id is not None:
            labels = {"set_labels": {"colour": label}} if label else {"remove_labels": ("colour",)}
            self.run(self.machine.change(Verb.UPDATE, job_id, update=Update(default_delete=default_delete, **labels)))

    @rule(data=st.data())
    def expire(self, data: Any) -> None:
        job_id = self.pick(data, State.WAITING)
        if job_id is not None:
            self.run(self.machine.change(Verb.EXPIRE, job_id))


@case.LONG
def test_every_sequence_of_events_is_one_that_the_model_allows(postgres: EmbeddedPostgres) -> None:
    case.check(Jobs, postgres, examples=22, steps=30)
