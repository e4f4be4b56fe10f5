"""Random sequences of what happens to jobs that are tied to others: dependencies, batches with a callback, types with policies of their own, what handlers submit,
requeues with descendants.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from headrace_broker.actions import descents
from headrace_broker.model.errors import InvalidState
from headrace_broker.model.job import SETTLED, State
from headrace_broker.model.settings import OnDependencyFailed
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Verb
from headrace_broker.store.batch import FullBody
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.graph import GraphReads
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.property import case
from tests.property.machine import TESTER, Job, Machine
from tests.property.test_machine import Lives

POLICIES = {"work": OnDependencyFailed.ABORT, "strict": OnDependencyFailed.ERROR, "patient": OnDependencyFailed.WAIT}
FAILED = (State.ERROR, State.ABORTED)
UNSETTLED = (State.WAITING, State.PROCESSING)


class Ties(Machine):
    """`edges`: (parent, child) of jobs that there were; `waits`: what a job waits for, or will again when it is requeued, by the run that must have completed (of a
    callback: nothing); jobs that had their turn are not in it. `batches`: callback -> members, `sealed`: some of them.
    """

    async def prepare(self) -> None:
        self.named = {"work": self.type}
        for name in ("strict", "patient"):
            self.named[name] = await self.add_type(name, on_dependency_failed=int(POLICIES[name]))
        self.graph = GraphReads(self.pool)
        self.edges: set[tuple[int, int]] = set()
        self.parents: dict[int, tuple[int, ...]] = {}  # dependencies as they were submitted
        self.waits: dict[int, dict[int, int]] = {}
        self.batches: dict[int, set[int]] = {}
        self.sealed: set[int] = set()
        self.last_completed: dict[int, int] = {}  # run

    # Commands ----------------------------------------------------------------------------------------------------------------------------------

    async def submit_to(self, name: str, depends_on: Sequence[int], batch_id: int = 0) -> None:
        """A job of this type that depends on others, or is a member of a batch, or both; refused where its batch is closed."""
        more: dict[str, Any] = {"depends_on": list(depends_on)} if depends_on else {}
        more |= {"batch_id": batch_id} if batch_id else {}
        entry = self.named[name]
        job = entry, 0, 0.0, FullBody(b"{}", more=json.dumps(more))
        done = self.owner.submit_keyed(job, entry.domain_id, "", b"", 2, depends_on=tuple(depends_on) or None, batch_id=batch_id)
        refused = bool(batch_id) and (not self.jobs[batch_id].held or batch_id in self.sealed)
        try:
            job_id, _ = await self.until_done(asyncio.ensure_future(_answer(done)))
        except InvalidState:
            assert refused
            return
        assert not refused
        self.jobs[job_id] = Job(type=name, held=bool(depends_on))
        self.parents[job_id] = tuple(depends_on)
        self.edges |= {(parent, job_id) for parent in depends_on}
        if depends_on:
            self.waits[job_id] = dict.fromkeys(depends_on, 1)
        if batch_id:
            self.batches[batch_id].add(job_id)
            self.edges.add((job_id, batch_id))

    async def submit_child(self, name: str, parent_id: int) -> None:
        """What the handler of a job submits: it waits for nobody."""
        entry = self.named[name]
        job = entry, 0, 0.0, FullBody(b"{}", more=json.dumps({"parent_id": parent_id}))
        done = self.owner.submit_keyed(job, entry.domain_id, "", b"", 2)
        job_id, _ = await self.until_done(asyncio.ensure_future(_answer(done)))
        self.jobs[job_id] = Job(type=name)
        self.parents[job_id] = ()
        self.edges.add((parent_id, job_id))

    async def open_batch(self, name: str) -> None:
        """The callback of a new batch."""
        entry = self.named[name]
        done = self.owner.submit_keyed((entry, 0, 0.0, FullBody(b"{}", more='{"depends_on": []}')), entry.domain_id, "", b"", 2, depends_on=())
        await self.store_keyed()
        job_id = done.result()[0]
        self.jobs[job_id] = Job(type=name, held=True)
        self.parents[job_id], self.batches[job_id], self.waits[job_id] = (), set(), {}

    async def seal(self, batch_id: int) -> None:
        """No more members; refused where the callback does not wait."""
        held = self.jobs[batch_id].held
        asking = changes.request(self.owner, self.heads, Verb.SEAL, [batch_id], caller=TESTER, reason="")
        [change] = await self.until_done(asyncio.ensure_future(asking))
        assert (change.error is None) == held
        if held:
            self.sealed.add(batch_id)

    async def requeue_below(self, root: int) -> None:
        """A job and those below it that failed begin new runs, each waiting for those of its dependencies that run again."""
        below = self._below(root)
        chosen = {root} | {job_id for job_id in below if job_id in self.jobs and self.jobs[job_id].state in FAILED}
        within = {root, *below}
        wanted, refused, runs = set(chosen), set[int](), {}
        for job_id in descents.in_order(chosen, {child: [p for p in self.parents.get(child, ()) if p in within] for child in chosen}, self._members(chosen, within)):
            job = self.jobs[job_id]
            again = {other for other in self.parents.get(job_id, ()) if other in within}
            if job.state not in FAILED or again & refused:
                wanted.discard(job_id)
                refused |= {job_id} if job.state in FAILED else set()
                continue
            runs[job_id] = job.run + 1
            waits = dict(self.waits.get(job_id, {}))
            for other in again:
                if other in runs:
                    waits[other] = runs[other]
                elif other in self.jobs and self.jobs[other].state in UNSETTLED:
                    waits[other] = self.jobs[other].run
            if job_id in self.batches and self._members([job_id], within).get(job_id):
                self.waits[job_id] = {}
            elif waits:
                self.waits[job_id] = waits
        asking = descents.requeue(self.owner, self.heads, self.graph, root, caller=TESTER, reason="")
        done = await self.until_done(asyncio.ensure_future(asking))
        assert {change.job_id for change in done if change.error is None} == wanted
        for job_id in wanted:
            self._run_again(self.jobs[job_id])

    # Model -------------------------------------------------------------------------------------------------------------------------------------

    def _below(self, root: int) -> set[int]:
        found: set[int] = set()
        ahead = [root]
        while ahead:
            job_id = ahead.pop()
            for parent, child in self.edges:
                if parent == job_id and child not in found:
                    found.add(child)
                    ahead.append(child)
        return found

    def _members(self, callbacks: "Sequence[int] | set[int]", within: set[int]) -> dict[int, list[int]]:
        found = {job_id: sorted(self.batches[job_id] & within) for job_id in callbacks if job_id in self.batches}
        return {job_id: members for job_id, members in found.items() if members}

    def _run_again(self, job: Job) -> None:
        super()._run_again(job)
        job.held = self.id_of(job) in self.waits

    def has_completed(self, job: Job) -> None:
        self.last_completed[self.id_of(job)] = job.run

    async def settle_ties(self) -> None:
        self.last_completed |= {job_id: job.run for job_id, job in self.jobs.items() if job.state is State.COMPLETED}
        while self.owner.graph or self.owner.graph.unread or self.owner.graph.unread_batches:
            await self.read_standings()
            await self.flush()
        moved = True
        while moved:
            moved = False
            for job_id, job in self.jobs.items():
                if not job.held:
                    continue
                if job_id in self.batches:
                    met = job_id in self.sealed and not any(m in self.jobs and self.jobs[m].state not in SETTLED for m in self.batches[job_id])
                    failed = False
                else:
                    unmet = [other for other, run in self.waits[job_id].items() if self.last_completed.get(other, 0) < run]
                    met = not unmet
                    failed = POLICIES[job.type] is not OnDependencyFailed.WAIT and any(o not in self.jobs or self.jobs[o].state in FAILED for o in unmet)
                if met or failed:
                    job.held, moved = False, True
                    job.seq += 1
                if met:
                    del self.waits[job_id]
                elif failed:
                    job.state = State.ABORTED if POLICIES[job.type] is OnDependencyFailed.ABORT else State.ERROR


async def _answer(done: "asyncio.Future[tuple[int, bool]]") -> tuple[int, bool]:
    return await done


class Graph(Lives):
    driver = Ties
    machine: Ties

    @rule(data=st.data(), name=st.sampled_from(sorted(POLICIES)), count=st.integers(1, 3))
    def submit_tied(self, data: Any, name: str, count: int) -> None:
        chosen = {self.pick(data) for _ in range(count)}
        self.run(self.machine.submit_to(name, [job_id for job_id in chosen if job_id is not None]))

    @rule(data=st.data(), name=st.sampled_from(sorted(POLICIES)))
    def submit_child(self, data: Any, name: str) -> None:
        parent_id = self.pick(data, State.PROCESSING)
        if parent_id is not None:
            self.run(self.machine.submit_child(name, parent_id))

    @rule(name=st.sampled_from(sorted(POLICIES)))
    def open_batch(self, name: str) -> None:
        self.run(self.machine.open_batch(name))

    def _batch(self, data: Any) -> int | None:
        there = [job_id for job_id in self.machine.batches if job_id in self.machine.jobs]
        return data.draw(st.sampled_from(there)) if there else None

    @precondition(lambda self: any(job_id in self.machine.jobs for job_id in self.machine.batches))
    @rule(data=st.data(), name=st.sampled_from(sorted(POLICIES)))
    def join(self, data: Any, name: str) -> None:
        batch_id = self._batch(data)
        assert batch_id is not None
        self.run(self.machine.submit_to(name, [], batch_id))

    @precondition(lambda self: any(job_id in self.machine.jobs for job_id in self.machine.batches))
    @rule(data=st.data())
    def seal(self, data: Any) -> None:
        batch_id = self._batch(data)
        assert batch_id is not None
        self.run(self.machine.seal(batch_id))

    @rule(data=st.data())
    def requeue_below(self, data: Any) -> None:
        job_id = self.pick(data, *SETTLED)
        if job_id is not None:
            self.run(self.machine.requeue_below(job_id))


@case.LONG
def test_every_sequence_of_jobs_that_wait_for_others_is_one_that_the_model_allows(postgres: EmbeddedPostgres) -> None:
    case.check(Graph, postgres, examples=13, steps=30)
