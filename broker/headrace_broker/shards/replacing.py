"""Submits that meet their unique key and make its holder, while it waits, what they say.

Whether the key is free the database decides, as for any submit (keyed.py). Here the holder is changed, by the owner in its next round, if it waits then. Each call is a
version of its own: calls that race are decided in the order in which they came, one in each round, since a job has at most one event in a round. Those that wait for
their turn stay where they are queued, and nothing is read again for them.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError, DatabaseUnavailable
from headrace_broker.model.job import State
from headrace_broker.shards.intents import Change, ChangeIntent, NewJob, Verb
from headrace_broker.shards.round import Round
from headrace_broker.store.heads import Heads, ReadFailed

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

REASON = "submitted again with its unique key"


async def replace(owner: "Owner", heads: Heads, job_id: int, jobs: Sequence[NewJob], *, caller: Caller) -> list[Change | None]:
    """Makes the job each of these, one after the other; what became of each: the state in which the job is (waiting: it is as this one now), or None when it was
    settled before that and the key may be free.

    Raises:
        Unavailable: nothing was changed.
    """
    moved: set[int] = set()
    owner.readers.append(moved)
    try:
        moved.update(owner.moving())  # may or may not be in what is read now
        try:
            head = (await heads.heads([job_id])).get(job_id)
        except ReadFailed as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error
        if head is None or head.state not in (State.WAITING, State.PROCESSING):
            return [None] * len(jobs)
        if owner.refusing is not None:
            raise owner.refusing
        asked: list[asyncio.Future[list[Change | None]]] = []
        for job in jobs:
            done: asyncio.Future[list[Change | None]] = asyncio.get_running_loop().create_future()
            owner.change(ChangeIntent(Verb.REPLACE, [head], caller, REASON, moved, done, replacement=job))
            asked.append(done)
        await asyncio.wait(asked)
        return [_answer(job_id, done) for done in asked]
    finally:
        owner.readers = [other for other in owner.readers if other is not moved]  # by identity: the sets of two calls may be equal


def _answer(job_id: int, done: "asyncio.Future[list[Change | None]]") -> Change | None:
    error = done.exception()
    if error is None:
        return done.result()[0]
    if isinstance(error, BrokerError):
        return Change(job_id, None, error)
    raise error


def must_wait(owner: "Owner", round_: Round, intent: ChangeIntent) -> bool:
    """Whether the job has its event of this round, so that this intent has its turn in the next."""
    if intent.verb is not Verb.REPLACE:
        return False
    live = owner.live_jobs.get(intent.heads[0].job_id)
    return live is not None and owner.is_moving(live)
