"""Two side tasks of an owner that need the database for single jobs: bodies that memory did not keep, and outcomes of leases that memory does not know."""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from headrace_broker.model.errors import BrokerError
from headrace_broker.model.job import Disposition, Kind, State
from headrace_broker.shards.hub import JobChange
from headrace_broker.shards.intents import Ending
from headrace_broker.shards.session import Session
from headrace_broker.store.batch import instance_of
from headrace_broker.store.heads import Heads, ReadFailed

if TYPE_CHECKING:
    from headrace_broker.shards.live import Live
    from headrace_broker.shards.owner import Owner

T = TypeVar("T")
AT_ONCE = 1000
AT_ONCE_BYTES = 256 * 1024 * 1024
"""Of bodies in one read, if all are as large as they may be: more would take longer than a read may, each time that it is tried, and the memory that it needs."""
RETRY_S = 0.5


async def refill_bodies(owner: "Owner", heads: Heads) -> None:
    """Sends granted jobs whose body has to be read first. Runs until cancelled; while the database is away the jobs stay granted and are sent later."""
    most = max(1, min(AT_ONCE, AT_ONCE_BYTES // owner.limits.payload_limit_bytes))
    while True:
        await owner.refill_wake.wait()
        owner.refill_wake.clear()
        while owner.refill:
            chunk: list[tuple[Session, Live]] = [owner.refill.popleft() for _ in range(min(most, len(owner.refill)))]
            bodies = await persist(functools.partial(heads.bodies, [live.job_id for _, live in chunk]))
            for session, live in chunk:
                if live.session is session and live.state is State.PROCESSING and live.job_id in bodies and live in session.unsent:
                    body, checkpoint, amended = bodies[live.job_id]
                    if amended is not None:
                        owner.amended.setdefault(live.job_id, amended)  # what memory has is newer
                    _learn_instance(owner, live, instance_of(body))
                    session.out.assigned.append((live, live.seq, body, checkpoint))
                    session.wake.set()


def _learn_instance(owner: "Owner", live: "Live", instance_id: str | None) -> None:
    """Who listens to the instance of a job hears of its grant when that is known."""
    if live.instance_id is None and instance_id is not None:
        live.instance_id = instance_id
        if owner.hub.active:
            owner.hub.publish_late(JobChange(live.job_id, live.entry.type_id, live.state, live.seq, Kind.GRANTED.name.lower(), instance_id))


async def judge_stale(owner: "Owner", heads: Heads) -> None:
    """Tells agents what became of outcomes that came too late or twice, and keeps those that do not count as evidence. Runs until cancelled."""
    while True:
        await owner.stale_wake.wait()
        owner.stale_wake.clear()
        while owner.stale:
            chunk = [owner.stale.popleft() for _ in range(min(AT_ONCE, len(owner.stale)))]
            endings = await persist(functools.partial(heads.endings, list({(e.job_id, e.epoch) for e in chunk})))
            stored = []
            for ending in chunk:
                disposition = _judge(owner, ending, endings.get((ending.job_id, ending.epoch)))
                if disposition is Disposition.SUPERSEDED:
                    stored.append((ending, owner.evidence(ending.job_id, ending.epoch, _evidence(ending))))
                else:
                    _tell(owner, ending, disposition)
            for ending, done in stored:
                try:
                    await done
                except BrokerError:  # the database was away for long, and nobody can tell whether it is stored: judged again, and at worst noted twice
                    owner.stale.append(ending)
                    continue
                _tell(owner, ending, Disposition.SUPERSEDED)


def _tell(owner: "Owner", ending: Ending, disposition: Disposition) -> None:
    if ending.sink is not None:
        owner.undecided.told(ending.sink.agent_id, 1)
        ending.sink.ack([ending.job_id], [ending.epoch], disposition)


def _judge(owner: "Owner", ending: Ending, stored: tuple[int, bool, int | None] | None) -> Disposition:
    if stored is None:
        return Disposition.UNKNOWN
    kind, abort_requested, agent_id = stored
    if ending.sink is not None and agent_id != ending.sink.agent_id:
        owner.metrics.foreign_leases.labels("outcome").inc()
        return Disposition.UNKNOWN
    if kind == 0:  # the ledger's newest event is this grant, but memory is ahead of it: ask again
        return Disposition.NOT_OWNER
    # While an abort is asked for, whatever ends the attempt without a result is stored as aborted.
    same = kind == ending.kind or (kind == Kind.ABORTED and abort_requested and ending.kind is not Kind.COMPLETED)
    return Disposition.ALREADY_APPLIED if same else Disposition.SUPERSEDED


def _evidence(ending: Ending) -> bytes:
    error = json.loads(ending.error) if ending.error else None
    return json.dumps({"outcome": Kind(ending.kind).name.lower(), "error": error}).encode()


async def persist(read: Callable[[], Awaitable[T]]) -> T:
    """What `read` reads. Reads until the database answers: the flusher reports an outage, these tasks only wait for its end."""
    while True:
        try:
            return await read()
        except ReadFailed:
            await asyncio.sleep(RETRY_S)
