"""Random sequences of everything that can happen to single jobs: memory, ledger, SQL view and model agree after each."""

from typing import Any

from headrace_broker.model.amended import Update
from headrace_broker.model.job import Kind, State
from headrace_broker.shards.intents import Verb
from headrace_broker.store.embedded import EmbeddedPostgres
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.property import case
from tests.property.machine import Machine

KINDS = st.sampled_from([Kind.COMPLETED, Kind.FAILED, Kind.TIMED_OUT, Kind.RELEASED, Kind.ABORTED])
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
    """Some of its jobs have terms."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.terms = True


class Jobs(Lives):
    driver = WithTerms

    @rule(first=st.integers(1, 3), second=st.integers(1, 3), room=st.integers(0, 6), stored=st.integers(0, 2), back=st.booleans())
    def overlap(self, first: int, second: int, room: int, stored: int, back: bool) -> None:
        self.run(self.machine.come_back())
        held = {job_id: job.seq for job_id, job in self.machine.jobs.items() if job.state is State.PROCESSING}
        if self.run(self.machine.overlap(first, second, room, stored=stored)):
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
