"""Who waits for whom: jobs that wait until others have completed, and callbacks of batches, which wait until the batch is sealed and its members have settled.

A job that waits so is **held**: it is live, in no lane and no timer. What it still waits for is `unmet`; who waits for a job is `waiters`. Both are memory: the facts are
the submission (`depends_on`, the members' edges) and one event when the wait is over, `dependencies_met`, so a held job is one that has ties and not that event, and
whoever takes over holds it again. A dependency that has completed once is met, whatever is done to it later; but a job that is requeued together with what it depends on
waits for the new run of that (descents.py), and a note says so.

A **batch** is its callback job: that is held until the batch is sealed (a note) and every member has settled, however. Members may be added until then. A member that is
requeued before the callback was released is waited for again.

How it goes on: `hold` notes the ties and asks for the standing of everything waited for to be read (`standings.py`); from then on whatever settles is noticed as it is
decided (`settled`, `completed`), in the same commit. Either way it becomes **news** for the waiters, told a portion in each round (`advance`), so that a job with ten
thousand dependants holds nobody up. If the broker dies between two portions, the rest are still held, and their ties are read again.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace_broker.model.job import Kind, NoteKind, State
from headrace_broker.model.settings import OnDependencyFailed
from headrace_broker.shards.live import Live
from headrace_broker.shards.round import Round
from headrace_broker.store.heads import WaitsFor

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

AT_ONCE = 1000
"""Waiters that are told in one round: with their events a round stays about as long as any other."""
ENDED = {State.ERROR: "ended in error", State.ABORTED: "was aborted", State.GONE: "is gone"}


@dataclass(slots=True, eq=False)
class _News:
    """How a job stands that was waited for; `left`: (waiter, its unmet set when it began to wait) of those that were not told yet."""

    job_id: int
    state: State  # COMPLETED: it has completed, at some time
    left: list[tuple[int, set[int]]]


class Graph:
    """Part of one owner; decided in its event loop, like everything there."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self.unmet: dict[int, set[int]] = {}  # held job -> what it still waits for
        self._runs: dict[int, WaitsFor] = {}  # held job -> the run in which each must have completed, where one is not the first
        self.waiters: dict[int, dict[int, set[int]]] = {}  # what is waited for -> held jobs, each with its unmet set
        self.sealed: dict[int, bool] = {}  # callbacks of batches that are held: whether the batch is sealed
        self.members: dict[int, set[int]] = {}  # the same: all members of the batch
        self.batch_of: dict[int, int] = {}  # member -> the callback
        self._news: deque[_News] = deque()
        self.unread: dict[int, dict[int, None] | None] = {}  # waited for, and how they stand is to be read: for these who wait; None: for all
        self.unread_batches: dict[int, None] = {}  # callbacks whose batch is to be read: nobody joins before
        self.read_wake = asyncio.Event()

    def __bool__(self) -> bool:
        """Whether there is news to be told in the next round."""
        return bool(self._news)

    # What changes ------------------------------------------------------------------------------------------------------------------------------

    def hold(self, job_id: int, waits_for: WaitsFor) -> None:
        """The job waits for these from now on; for none: for its batch, which may have members, and be sealed."""
        if not waits_for:
            self.hold_batch(job_id, read=True)
            return
        unmet = self.unmet[job_id] = set(waits_for)
        if max(waits_for.values()) > 1:
            self._runs[job_id] = dict(waits_for)
        for other in unmet:
            self.waiters.setdefault(other, {})[job_id] = unmet
            self._read_for(job_id, other)
        self.read_wake.set()

    def hold_batch(self, job_id: int, *, read: bool = False) -> None:
        """The callback of a batch waits from now on for the batch's members. `read`: it may have some, and be sealed; else it is new."""
        self.unmet[job_id] = set()
        self.sealed[job_id] = False
        self.members[job_id] = set()
        if read:
            self.unread_batches[job_id] = None
            self.read_wake.set()

    def learn_batch(self, job_id: int, *, sealed: bool, members: Iterable[int], unsettled: Iterable[int], moved: set[int]) -> None:
        """What a batch is, as it was read. Members that `moved` meanwhile may stand otherwise by now: the batch waits for them until that is read."""
        if self.unread_batches.pop(job_id, self) is self:
            return
        self._owner.keyed.batch_is_known(job_id)
        if job_id not in self.sealed:
            return
        self.sealed[job_id] |= sealed
        self.members[job_id].update(members)
        self.batch_of.update(dict.fromkeys(self.members[job_id], job_id))
        for member in unsettled:
            self._wait_for_member(member, job_id)
        for member in moved.intersection(members):
            self._wait_for_member(member, job_id)
            self._read_for(job_id, member)
        if self.sealed[job_id] and not self.unmet[job_id]:
            self._news.append(_News(job_id, State.COMPLETED, [(job_id, self.unmet[job_id])]))
        self._owner.wake.set()

    def join(self, job_id: int, batch_id: int) -> None:
        """A new job is a member of a batch that is open."""
        self.members[batch_id].add(job_id)
        self.batch_of[job_id] = batch_id
        self._wait_for_member(job_id, batch_id)

    def requeued(self, job_id: int) -> None:
        """The job was settled and waits again: so does the callback of its batch, unless that was released."""
        if job_id in self.batch_of:
            self._wait_for_member(job_id, self.batch_of[job_id])

    def _wait_for_member(self, job_id: int, batch_id: int) -> None:
        unmet = self.unmet[batch_id]
        unmet.add(job_id)
        self.waiters.setdefault(job_id, {})[batch_id] = unmet

    def is_open(self, batch_id: int) -> bool:
        """Whether members may be added to the batch."""
        return self.sealed.get(batch_id) is False

    def after(self, batch_id: int) -> set[int]:
        """The callback of a batch, and all that wait for it, however many others are between them: what waits for one of these cannot be a member."""
        found = {batch_id}
        ahead = [batch_id]
        while ahead:
            for waiter in self.waiters.get(ahead.pop(), ()):
                if waiter not in found:
                    found.add(waiter)
                    ahead.append(waiter)
        return found

    def seal(self, round_: Round, live: Live, actor: str) -> None:
        """No more members; the callback is released as soon as all have settled. Sealing twice changes nothing."""
        if not self.sealed[live.job_id]:
            self.sealed[live.job_id] = True
            round_.batch.add_note(live.job_id, live.seq, NoteKind.BATCH_SEALED, actor=actor)
            if not self.unmet[live.job_id] and live.job_id not in self.unread_batches:
                self._release(round_, live)

    def waits_for(self, job_id: int) -> WaitsFor | None:
        """What a job still waits for, to be held for it again; None: it does not wait."""
        unmet = self.unmet.get(job_id)
        if unmet is None or job_id in self.sealed:
            return None if unmet is None else {}
        runs = self._runs.get(job_id, {})
        return {other: runs.get(other, 1) for other in unmet}

    def leave(self, job_id: int) -> None:
        """The job waits no more."""
        self._runs.pop(job_id, None)
        self.sealed.pop(job_id, None)
        if self.unread_batches.pop(job_id, self) is not self:
            self._owner.keyed.batch_is_known(job_id)
        for member in self.members.pop(job_id, ()):
            del self.batch_of[member]
        for other in self.unmet.pop(job_id, ()):
            waiters = self.waiters.get(other)
            if waiters is not None:
                waiters.pop(job_id, None)
                if not waiters:
                    del self.waiters[other]

    def completed(self, job_ids: Iterable[int]) -> None:
        """These jobs have completed, by decisions of this round."""
        for job_id in job_ids:
            if job_id in self.waiters:
                self._tell_later(job_id, State.COMPLETED)

    def settled(self, job_id: int, state: State) -> None:
        """The job was settled by a decision of this round."""
        if job_id in self.unmet:
            self.leave(job_id)
        if job_id in self.waiters:
            self._tell_later(job_id, state)

    def purged(self, job_id: int) -> None:
        """The job is gone by a decision of this round: whether it had completed is to be read."""
        if job_id in self.waiters:
            self.unread[job_id] = None
            self.read_wake.set()

    def learn(self, job_id: int, state: State, *, completed: int, moved: bool, whom: Iterable[int] | None = None) -> None:
        """How a job stands, as it was read; `completed`: the last run in which it has, 0: none. `moved`: it may stand otherwise by now, and has to be read again
        for whom it had not completed. `whom`: for whom it was read, so that a job for which thousands wait is not gone through for each further one; None: for all.
        """
        waiters = self.waiters.get(job_id, {})
        met: list[tuple[int, set[int]]] = []
        ended: list[tuple[int, set[int]]] = []
        for waiter in list(waiters) if whom is None else whom:
            unmet = waiters.get(waiter)
            if unmet is None:
                continue
            batch = waiter in self.sealed  # waits until the job has settled, however
            if not batch and completed >= self._runs.get(waiter, {}).get(job_id, 1):
                met.append((waiter, unmet))
            elif not moved and (state in ENDED or (batch and state is State.COMPLETED)) and not self._waits_on(waiter):
                ended.append((waiter, unmet))
            elif moved:
                self._read_for(waiter, job_id)
        for waiter, _ in (*met, *ended):
            del waiters[waiter]
        if not waiters:
            self.waiters.pop(job_id, None)
        self._news.extend(_News(job_id, how, told) for how, told in ((State.COMPLETED, met), (state, ended)) if told)
        if self._news:
            self._owner.wake.set()

    def _read_for(self, waiter: int, job_id: int) -> None:
        """How a job stands is to be read for one who waits for it. Those who waited before know it, and hear what is decided."""
        whom = self.unread.setdefault(job_id, {})
        if whom is not None:
            whom[waiter] = None

    def _tell_later(self, job_id: int, state: State) -> None:
        told = self.waiters.pop(job_id)
        patient = {} if state is State.COMPLETED else {waiter: unmet for waiter, unmet in told.items() if self._waits_on(waiter)}
        if patient:
            self.waiters[job_id] = patient
        if len(patient) < len(told):
            self._news.append(_News(job_id, state, [(waiter, unmet) for waiter, unmet in told.items() if waiter not in patient]))

    def _waits_on(self, waiter: int) -> bool:
        """Whether a held job is to wait on, as its type says, when what it waits for fails. It is told nothing then and stays among the waiters: news of a failure may
        be told after the next run of what failed has completed.
        """
        return waiter not in self.sealed and self._owner.live_jobs[waiter].entry.settings.on_dependency_failed is OnDependencyFailed.WAIT

    # What is decided ---------------------------------------------------------------------------------------------------------------------------

    def advance(self, round_: Round) -> None:
        """Tells news to the next waiters, at most AT_ONCE of them. One that has its event of this round is told in the next."""
        told = 0
        again: list[_News] = []
        while self._news and told < AT_ONCE:
            news = self._news[0]
            busy: list[tuple[int, set[int]]] = []
            while news.left and told < AT_ONCE:
                job_id, unmet = news.left.pop()
                if self.unmet.get(job_id) is not unmet:
                    continue  # it waits no more, or anew
                told += 1
                live = self._owner.live_jobs[job_id]
                if self._owner.is_moving(live):
                    busy.append((job_id, unmet))
                else:
                    self._tell(round_, live, unmet, news)
            if busy:
                again.append(_News(news.job_id, news.state, busy))
            if not news.left:
                self._news.popleft()
        self._news.extend(again)
        if self._news:
            self._owner.wake.set()

    def _tell(self, round_: Round, live: Live, unmet: set[int], news: _News) -> None:
        batch = live.job_id in self.sealed
        if batch and news.job_id != live.job_id and news.job_id in self._owner.live_jobs:
            return  # a member that runs again by now
        if batch or news.state is State.COMPLETED:
            unmet.discard(news.job_id)
            if not unmet and self.sealed.get(live.job_id, True):
                self._release(round_, live)
            return
        self._fail(round_, live, news)

    def _release(self, round_: Round, live: Live) -> None:
        """Nothing is left to wait for."""
        self.leave(live.job_id)
        self._owner.record(round_, live, Kind.DEPENDENCIES_MET, State.WAITING)
        if live.available_at_s:
            round_.batch.extend_event(available_at=datetime.fromtimestamp(live.available_at_s, UTC))
        round_.waiting_again.append(live)

    def _fail(self, round_: Round, live: Live, news: _News) -> None:
        """A dependency failed, and its waiter's type did not say then that it is to wait on."""
        owner, policy = self._owner, live.entry.settings.on_dependency_failed
        owner.bodies.pop(live.entry.type_id, live.job_id)
        reason = f"job {news.job_id}, which it depends on, {ENDED[news.state]}"
        error = json.dumps({"code": "dependency_failed", "message": reason, "fingerprint": "dependency_failed", "traceback": ""})
        owner.settle_job(round_, live, Kind.DEPENDENCY_FAILED, State.ERROR if policy is OnDependencyFailed.ERROR else State.ABORTED)
        round_.batch.extend_event(reason=reason, error=error)
        owner.raise_alert(round_, live, error)
