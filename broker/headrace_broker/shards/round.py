"""One round of the owner: the facts of one flush, and what is to be told to whom once they are durable."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from headrace_broker.model.job import Disposition, Kind, State
from headrace_broker.shards.intents import AckSink, KeyedJob, Submission
from headrace_broker.shards.live import Abort, Live
from headrace_broker.shards.session import Session
from headrace_broker.store.batch import Batch, Body


@dataclass(slots=True)
class Round:
    """Filled by the owner's decisions, emptied when its flush is durable."""

    number: int
    batch: Batch = field(default_factory=Batch)
    submissions: list[tuple[Submission, list[int]]] = field(default_factory=list)
    answers: "list[tuple[asyncio.Future[Any], Any]]" = field(default_factory=list)
    acks: list[tuple[AckSink, int, int, Disposition]] = field(default_factory=list)
    grants: list[tuple[Session, Live, int, Body | None]] = field(default_factory=list)  # with the lease epoch
    aborts: list[tuple[Session, int, int, Abort]] = field(default_factory=list)
    revoked: list[tuple[Session, int, int]] = field(default_factory=list)
    waiting_again: list[Live] = field(default_factory=list)  # into lanes or timers once the round is built: one event per job and flush
    changes: list[tuple[int, int, State, int, Kind | None, str | None]] = field(default_factory=list)  # as in JobChange; kind None: submitted

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
        for sink, job_id, epoch, disposition in self.acks:
            sink.ack(job_id, epoch, disposition)
        for session, live, epoch, body in self.grants:
            if body is None:
                refill.append((session, live))
            else:
                session.out.assigned.append((live, epoch, body, None))
                session.wake.set()
        for session, job_id, epoch, abort in self.aborts:
            session.out.aborts.append((job_id, epoch, abort))
            session.wake.set()
        for session, job_id, epoch in self.revoked:
            session.out.revoked.append((job_id, epoch))
            session.wake.set()


@dataclass(slots=True)
class KeyedRound:
    """Jobs with keys that one keyed flush stores; in the order of (domain, key)."""

    batch: Batch
    jobs: list[KeyedJob]

    def keys(self) -> list[tuple[int, str, bytes]]:
        """(domain_id, key, body hash) of each."""
        return [(job.domain_id, job.key, job.body_hash) for job in self.jobs]
