"""Who waits for whom: jobs that wait until others have completed, and callbacks of batches, which wait until the batch is sealed and its members have settled.

A job that waits so is **held**: it is live, in no lane and no timer. What it still waits for is `unmet`; who waits for a job is `waiters`. Both are memory: the facts are
the submission (`depends_on`, the members' edges) and one event when the wait is over, `dependencies_met`, so a held job is one that has ties and not that event, and
whoever takes over holds it again. A dependency that has completed once is met, whatever is done to it later.

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

from headrace_broker.model.job import Kind, State
from headrace_broker.model.settings import OnDependencyFailed
from headrace_broker.shards.live import Live
from headrace_broker.shards.round import Round

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
        self.waiters: dict[int, dict[int, set[int]]] = {}  # what is waited for -> held jobs, each with its unmet set
        self._news: deque[_News] = deque()
        self.unread: dict[int, None] = {}  # waited for, and how they stand is to be read
        self.read_wake = asyncio.Event()

    def __bool__(self) -> bool:
        """Whether there is news to be told in the next round."""
        return bool(self._news)

    # What changes ------------------------------------------------------------------------------------------------------------------------------

    def hold(self, job_id: int, waits_for: Iterable[int]) -> None:
        """The job waits for these from now on."""
        unmet = self.unmet[job_id] = set(waits_for)
        for other in unmet:
            self.waiters.setdefault(other, {})[job_id] = unmet
            self.unread[other] = None
        self.read_wake.set()

    def leave(self, job_id: int) -> None:
        """The job waits no more."""
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

    def learn(self, job_id: int, state: State, *, completed: bool) -> None:
        """How a job stands, as it was read; `completed`: it has completed at some time."""
        if job_id in self.waiters and (completed or state in ENDED):
            self._tell_later(job_id, State.COMPLETED if completed else state)
            self._owner.wake.set()

    def _tell_later(self, job_id: int, state: State) -> None:
        self._news.append(_News(job_id, state, list(self.waiters.pop(job_id).items())))

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
                if live.round == round_.number:
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
        if news.state is State.COMPLETED:
            unmet.discard(news.job_id)
            if not unmet:
                self._release(round_, live)
            return
        self._fail(round_, live, unmet, news)

    def _release(self, round_: Round, live: Live) -> None:
        """Nothing is left to wait for."""
        self.leave(live.job_id)
        self._owner.record(round_, live, Kind.DEPENDENCIES_MET, State.WAITING)
        if live.available_at_s:
            round_.batch.extend_event(available_at=datetime.fromtimestamp(live.available_at_s, UTC))
        round_.waiting_again.append(live)

    def _fail(self, round_: Round, live: Live, unmet: set[int], news: _News) -> None:
        """A dependency failed: what its waiter's type says."""
        owner, policy = self._owner, live.entry.settings.on_dependency_failed
        if policy is OnDependencyFailed.WAIT:  # somebody may requeue it
            self.waiters.setdefault(news.job_id, {})[live.job_id] = unmet
            return
        owner.bodies.pop(live.job_id)
        reason = f"job {news.job_id}, which it depends on, {ENDED[news.state]}"
        error = json.dumps({"code": "dependency_failed", "message": reason, "fingerprint": "dependency_failed", "traceback": ""})
        owner.settle_job(round_, live, Kind.DEPENDENCY_FAILED, State.ERROR if policy is OnDependencyFailed.ERROR else State.ABORTED)
        round_.batch.extend_event(reason=reason, error=error)
        owner.raise_alert(round_, live, error)
