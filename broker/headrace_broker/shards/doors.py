"""Takes up what programs put through the SQL doors: a side task reads the inbox, a chunk at a time, and the owner's next round stores it and how far it was read.

What is true when the broker dies: the cursor is in the commit that stores the jobs, so a chunk is taken as a whole or not at all, and the next owner begins at the newest
cursor. Jobs that carry a key are stored just before, in a flush of their own, under a key that makes them the same job when the chunk is read again.

Only one chunk is in hand at a time, and the next one is read when it is durable. Nobody waits here for somebody else's transaction.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from headrace_broker.model.errors import BrokerError, Busy, Unavailable
from headrace_broker.model.job import State
from headrace_broker.shards.intents import NewJob, Submission
from headrace_broker.shards.round import Round
from headrace_broker.store.inbox import Cursor, Inbox, InboxResult, InboxRow, InboxTaken
from headrace_broker.store.pool import ANY_FAILURE

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

AT_ONCE = 500  # rows of one chunk
AT_ONCE_BYTES = 4 * 1024 * 1024
POLL_S = 0.5
"""How often the inbox is looked at when nobody says that something came."""
RETRY_S = 0.2

log = structlog.get_logger("headrace.doors")


@dataclass(frozen=True, slots=True)
class DoorJob:
    """A submission that may be stored. `keyed`: it rides with those that carry keys; its future is what the owner answers."""

    job: NewJob
    keyed: "asyncio.Future[tuple[int, bool]] | None"


class Reader(Protocol):
    """Understands submissions as the Jobs service does."""

    async def job(self, owner: "Owner", row: InboxRow) -> DoorJob:
        """The job of a row; one with keys is on its way already. Raises BrokerError: Busy and Unavailable pass by themselves, others are why it is refused."""

    def reason(self, error: BrokerError) -> str:
        """The stable reason of a refusal."""


@dataclass(slots=True, eq=False)
class Chunk:
    """Rows to be taken in one round. `jobs` are (inbox_id, job); `results` are known already; `done`: it is durable, or (False) was dropped."""

    cursor: Cursor
    jobs: list[tuple[int, NewJob]]
    results: list[InboxResult]
    done: "asyncio.Future[bool]"


class Doors:
    """The chunk in hand. `put` by the side task, all else by the flusher's task."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.cursor = Cursor()  # durable
        self._waiting: Chunk | None = None
        self._storing: Chunk | None = None

    def __bool__(self) -> bool:
        return self._waiting is not None

    def put(self, chunk: Chunk) -> None:
        """The next round takes this chunk."""
        self._waiting = chunk

    def take(self, owner: "Owner", round_: Round) -> None:
        """The chunk's jobs become part of the round."""
        chunk, self._waiting = self._waiting, None
        if chunk is None:
            return
        self._storing = chunk
        batch = round_.batch
        results = list(chunk.results)
        job_ids = []
        for inbox_id, job in chunk.jobs:
            entry, priority, available_at_s, body = job
            job_id = owner.add_job(batch, job)
            batch.counts[entry.type_id, State.WAITING, 0] += 1
            owner.bodies.put(job_id, body)
            owner.enter(job_id, entry.type_id, priority, available_at_s)
            results.append(InboxResult(inbox_id, job_id))
            job_ids.append(job_id)
        if job_ids:
            told: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
            told.set_result(job_ids)  # nobody asks; watchers hear of it
            round_.submissions.append((Submission([job for _, job in chunk.jobs], told), job_ids))
        batch.inbox = InboxTaken(chunk.cursor, results)

    def settled(self, taken: InboxTaken) -> None:
        """The round is durable."""
        self.cursor = taken.cursor
        chunk, self._storing = self._storing, None
        if chunk is not None and not chunk.done.done():
            chunk.done.set_result(True)

    def drop(self) -> None:
        """What waits for its round is not taken now: it is read again later."""
        chunk, self._waiting = self._waiting, None
        if chunk is not None and not chunk.done.done():
            chunk.done.set_result(False)


async def take_inbox(owner: "Owner", inbox: Inbox, reader: Reader) -> None:
    """Takes up what comes, until cancelled. While the database is away, or the owner takes nothing, it waits."""
    doors = owner.doors
    known = False
    while True:
        doors.wake.clear()
        try:
            if not known:
                doors.cursor, known = await inbox.cursor(), True
            more = await _take_chunk(owner, inbox, reader)
        except (Busy, Unavailable, *ANY_FAILURE) as error:
            log.debug("inbox not taken; trying again", reason=f"{type(error).__name__}: {error}")
            await asyncio.sleep(RETRY_S)
            continue
        if not more:
            try:
                async with asyncio.timeout(POLL_S):
                    await doors.wake.wait()
            except TimeoutError:
                continue


async def _take_chunk(owner: "Owner", inbox: Inbox, reader: Reader) -> bool:
    """Takes one chunk and returns once it is durable; whether there may be more."""
    if owner.refusing is not None:
        raise owner.refusing
    doors = owner.doors
    rows, cursor = await inbox.read(doors.cursor, AT_ONCE, AT_ONCE_BYTES)
    if not rows:
        doors.cursor = cursor  # not worth a commit
        return False
    chunk = Chunk(cursor, [], [], asyncio.get_running_loop().create_future())
    keyed: list[tuple[int, asyncio.Future[tuple[int, bool]]]] = []
    for row in rows:
        try:
            found = await reader.job(owner, row)
        except (Busy, Unavailable):
            raise
        except BrokerError as error:
            chunk.results.append(InboxResult(row.inbox_id, None, reader.reason(error), str(error)))
            continue
        if found.keyed is not None:
            keyed.append((row.inbox_id, found.keyed))
        else:
            chunk.jobs.append((row.inbox_id, found.job))
    for inbox_id, answer in keyed:
        chunk.results.append(await _result(inbox_id, answer, reader))
    if owner.refusing is not None:
        raise owner.refusing
    doors.put(chunk)
    owner.wake.set()
    if not await chunk.done:
        raise Busy("the owner takes nothing now", retry_after_s=RETRY_S)
    return True


async def _result(inbox_id: int, answer: "asyncio.Future[tuple[int, bool]]", reader: Reader) -> InboxResult:
    try:
        job_id, _ = await answer
    except (Busy, Unavailable):
        raise
    except BrokerError as error:
        return InboxResult(inbox_id, None, reader.reason(error), str(error))
    return InboxResult(inbox_id, job_id)
