"""A side task of an owner: reads how jobs stand that others wait for, when nobody has heard of them since the waiting began; and which members a batch has."""

import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headrace_broker.model.job import State
from headrace_broker.shards.refill import persist
from headrace_broker.store.heads import Heads

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

AT_ONCE = 1000


async def read_standings(owner: "Owner", heads: Heads) -> None:
    """Runs until cancelled; while the database is away, what is held stays held.

    A job that moves while it is read is read again, unless it had completed by then: what is read may be older than what was decided. What is not stored is gone.
    """
    graph = owner.graph
    while True:
        await graph.read_wake.wait()
        graph.read_wake.clear()
        while graph.unread_batches:
            await _read_batch(owner, heads, next(iter(graph.unread_batches)))
        while graph.unread:
            asked = {job_id: graph.unread.pop(job_id) for job_id in list(itertools.islice(graph.unread, AT_ONCE))}
            with _watching(owner) as moved:
                standings = await persist(functools.partial(heads.standings, list(asked)))
            for job_id, whom in asked.items():
                state, completed = standings.get(job_id, (State.GONE, 0))
                graph.learn(job_id, state, completed=completed, moved=job_id in moved, whom=whom)


async def _read_batch(owner: "Owner", heads: Heads, batch_id: int) -> None:
    """A callback that moves while its batch is read has it read again. Members may move all the time: how those stand is read like that of any job that is waited for."""
    while batch_id in owner.graph.unread_batches:
        with _watching(owner) as moved:
            sealed, members, unsettled = await persist(functools.partial(heads.batch, batch_id))
        if batch_id not in moved:
            owner.graph.learn_batch(batch_id, sealed=sealed, members=members, unsettled=unsettled, moved=moved)


@contextmanager
def _watching(owner: "Owner") -> Iterator[set[int]]:
    """The jobs that move within the block, or are moving when it begins."""
    moved: set[int] = owner.moving()
    owner.readers.append(moved)
    try:
        yield moved
    finally:
        owner.readers = [other for other in owner.readers if other is not moved]
