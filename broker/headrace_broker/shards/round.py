"""One round of the owner: the facts of one flush, and what is to be told to whom once they are durable."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from headrace_broker.model.job import Disposition, Kind, State
from headrace_broker.shards.hub import JobChange
from headrace_broker.shards.intents import AckSink, KeyedJob, PlainJobs, Submission
from headrace_broker.shards.live import Abort, Live
from headrace_broker.shards.session import Assigned, Session
from headrace_broker.store.batch import Batch, KeyedRow, instance_of


@dataclass(slots=True, eq=False)
class Round:
    """Filled by the owner's decisions, emptied when its flush is durable."""

    number: int
    at: float = 0.0  # when it was decided: monotonic, and by the database's clock in seconds since 1970
    at_s: float = 0.0
    batch: Batch = field(default_factory=Batch)
    submissions: list[tuple[Submission, list[int]]] = field(default_factory=list)
    answers: "list[tuple[asyncio.Future[Any], Any]]" = field(default_factory=list)
    acks: list[tuple[AckSink, list[int], list[int], Disposition]] = field(default_factory=list)  # job ids, lease epochs
    grants: dict[Session, list[Assigned]] = field(default_factory=dict)
    bodiless: list[tuple[Session, Live]] = field(default_factory=list)  # granted, body not in memory
    aborts: list[tuple[Session, int, int, Abort]] = field(default_factory=list)
    revoked: list[tuple[Session, int, int]] = field(default_factory=list)
    waiting_again: list[Live] = field(default_factory=list)  # into lanes or timers once the round is durable: one event at a time
    moved: list[tuple[list[Live], Kind]] = field(default_factory=list)  # by which event
    noted: set[int] = field(default_factory=set)  # processing jobs whose amendments changed: once per round, since notes of one moment have no order

    def give_up(self, error: Exception) -> None:
        """Tells callers who wait for it that they will not get an answer."""
        futures: list[asyncio.Future[Any]] = [submission.done for submission, _ in self.submissions] + [future for future, _ in self.answers]
        for future in futures:
            if not future.done():
                future.set_exception(error)

    def tell(self, refill: "deque[tuple[Session, Live]]") -> None:
        """Tells everybody, after the commit. Grants whose body is not in memory go to `refill`."""
        for submission, job_ids in self.submissions:
            if not submission.done.done():
                submission.done.set_result(job_ids)
        for future, value in self.answers:
            if future.done():
                continue
            if isinstance(value, Exception):
                future.set_exception(value)
            else:
                future.set_result(value)
        for sink, job_ids, epochs, disposition in self.acks:
            sink.ack(job_ids, epochs, disposition)
        for session, assigned in self.grants.items():
            session.out.assigned += assigned
            session.wake.set()
        refill.extend(self.bodiless)
        for session, job_id, epoch, abort in self.aborts:
            session.out.aborts.append((job_id, epoch, abort))
            session.wake.set()
        for session, job_id, epoch in self.revoked:
            session.out.revoked.append((job_id, epoch))
            session.wake.set()

    def changes(self) -> list[JobChange]:
        """What the round did to jobs, for those who listen. Made once it is durable, and only then: nobody pays for what nobody hears."""
        found: list[JobChange] = []
        for submission, job_ids in self.submissions:
            jobs = submission.jobs
            if isinstance(jobs, PlainJobs):
                found += [JobChange(job_id, jobs.entry.type_id, State.WAITING, 0, "submitted") for job_id in job_ids]
            else:
                found += [JobChange(i, entry.type_id, State.WAITING, 0, "submitted", instance_of(body)) for i, (entry, _, _, body) in zip(job_ids, jobs, strict=True)]
        for lives, kind in self.moved:
            name = kind.name.lower()
            found += [JobChange(live.job_id, live.entry.type_id, live.state, live.seq, name, live.instance_id) for live in lives]
        return found


@dataclass(slots=True, eq=False)
class KeyedRound:
    """Jobs with keys that one keyed flush stores, in the order of their keys."""

    batch: Batch
    jobs: list[KeyedJob]
    followers: list[tuple[KeyedJob, KeyedJob]] = field(default_factory=list)  # (a job of the round, one that has its key and nothing but that)

    closed: list[KeyedJob] = field(default_factory=list)  # not stored: their batch takes no more jobs

    def rows(self) -> list[KeyedRow]:
        """What is stored beside each job."""
        return [job.row() for job in self.jobs]

    def refused(self, stored: frozenset[int]) -> list[KeyedJob]:
        """The jobs that are not stored."""
        return [job for job, job_id in zip(self.jobs, self.batch.job_id, strict=True) if job_id not in stored]
