"""Takes up what programs put through the SQL doors: a side task reads the inbox, a chunk at a time, and the owner's next round stores it and how far it was read.

What is true when the broker dies: the cursor is in the commit that stores the jobs, so a chunk is taken as a whole or not at all, and the next owner begins at the newest
cursor. Jobs that carry a key are stored just before, in a flush of their own, under a key that makes them the same job when the chunk is read again.

Only one chunk is in hand at a time, and the next one is read when it is durable. Nobody waits here for somebody else's transaction.

**Completions** are different: `complete_job` stores the event itself, in the caller's transaction, and the inbox only tells. Until that transaction ends, an insert of
the same event would wait for it, and the flush too. So the door holds a lock on the job, and an ending that might meet one is **contested**: before it is decided the
flusher takes the job's lock, without waiting, and keeps it until the ending is durable. A lock that is not free leaves the job as it is; it is tried again. Contested
are endings that the broker finds (lost, timed out, nobody claims it), outcomes whose agent says that the handler used a door, aborts by force, and all endings of leases
that a takeover found open, since what was said of them is forgotten.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from headrace_broker.model.errors import BrokerError, Busy, InvalidField, QueueFull, Unavailable
from headrace_broker.model.job import AbortStep, Kind, State
from headrace_broker.shards import aborts, turns
from headrace_broker.shards.intents import Completions, Ending, NewJob, Submission
from headrace_broker.shards.live import Live
from headrace_broker.shards.reruns import Reruns
from headrace_broker.shards.round import Round
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.heads import Heads, ReadFailed
from headrace_broker.store.inbox import COMPLETED, Cursor, DoorCompletion, Inbox, InboxResult, InboxRow, InboxTaken
from headrace_broker.store.pool import ANY_FAILURE, REFUSED_VALUES

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

AT_ONCE = 500  # rows of one chunk
AT_ONCE_BYTES = 4 * 1024 * 1024
LOCKS_AT_ONCE = 200
POLL_S = 0.5
"""How often the inbox is looked at when nobody says that something came."""
RETRY_S = 0.2
STORE_S = 30.0

log = structlog.get_logger("headrace.doors")


@dataclass(frozen=True, slots=True)
class DoorJob:
    """A submission that may be stored. `keyed`: it rides with those that carry keys; its future is what the owner answers."""

    job: NewJob
    keyed: "asyncio.Future[tuple[int, bool]] | None"


class Reader(Protocol):
    """Understands submissions as the Jobs service does."""

    async def job(self, owner: "Owner", row: InboxRow, heads: Heads) -> DoorJob:
        """The job of a row; one with keys is on its way already. `heads` finds the jobs that it names.

        Raises BrokerError: Busy and Unavailable pass by themselves, others are why it is refused.
        """

    def reason(self, error: BrokerError) -> str:
        """The stable reason of a refusal."""


@dataclass(slots=True, eq=False)
class Chunk:
    """Rows to be taken in one round. `jobs` are (inbox_id, job); `results` are known already; `done`: it is durable, or (False) was dropped."""

    cursor: Cursor
    jobs: list[tuple[int, NewJob]]
    results: list[InboxResult]
    completions: list[DoorCompletion]
    reruns: Reruns
    reserved: list[Counter[TypeEntry] | None]  # what the depth limits hold for the jobs, until the round counts them
    done: "asyncio.Future[bool]"


class Doors:
    """The chunk in hand. `put` by the side task, all else by the flusher's task."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.cursor = Cursor()  # durable
        self.store_at = 0.0  # with several shards: when it is to be stored although nothing was taken, since what all have passed is deleted
        self._waiting: Chunk | None = None
        self._storing: Chunk | None = None
        self.busy: set[int] = set()  # jobs whose lock was asked for and is somebody else's, or whose lease has ended
        self.restored: dict[int, int] = {}  # leases that a takeover found open: job_id -> epoch
        self._contested: dict[tuple[int, int, bool], tuple[list[Ending], float]] = {}  # by lease and whether an agent says so; with when to try

    def __bool__(self) -> bool:
        return self._waiting is not None

    @property
    def has_contested(self) -> bool:
        """Whether endings wait for the locks of their jobs."""
        return bool(self._contested)

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
        for reserved in chunk.reserved:
            owner.depth.release(reserved)
        for inbox_id, job in chunk.jobs:
            job_id = owner.numbering.add_job(batch, job)
            batch.counts[job[0].type_id, State.WAITING, 0] += 1
            owner.bodies.put(job[0].type_id, job_id, job[3])
            turns.enter_job(owner, job_id, job)
            results.append(InboxResult(inbox_id, job_id))
            job_ids.append(job_id)
        if job_ids:
            told: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
            told.set_result(job_ids)  # nobody asks; watchers hear of it
            round_.submissions.append((Submission([job for _, job in chunk.jobs], told), job_ids))
        for completion in chunk.completions:
            _complete(owner, round_, chunk.reruns, completion)
        batch.audit += chunk.reruns.refused
        batch.inbox = InboxTaken(chunk.cursor, results, owner.shard.number)

    def contested(self, owner: "Owner", now: float) -> list[tuple[int, int]]:
        """Puts contested endings aside and returns the leases (job_id, epoch) whose jobs' locks are to be asked for now, each job once."""
        self.busy = set()
        if owner.endings and (self.restored or any(type(ending) is Ending and _is_contested(ending) for ending in owner.endings)):
            self._put_aside(owner)
        if not self._contested:
            return []
        asked: dict[int, int] = {}
        for key, (endings, due) in list(self._contested.items()):
            job_id, epoch, agents = key
            live = owner.live_jobs.get(job_id)
            if live is None or live.seq != epoch or live.state is not State.PROCESSING:
                del self._contested[key]
                if agents:
                    owner.endings.extend(_cleared(endings))  # judged as ones that come late
            elif due <= now and len(asked) < LOCKS_AT_ONCE:
                asked[job_id] = epoch
        return list(asked.items())

    def _put_aside(self, owner: "Owner") -> None:
        for _ in range(len(owner.endings)):
            ending = owner.endings.popleft()
            if not self.take_aside(owner, ending):
                owner.endings.append(ending)
        if self.restored:
            self.restored = {j: epoch for j, epoch in self.restored.items() if (live := owner.live_jobs.get(j)) is not None and live.seq == epoch}

    def take_aside(self, owner: "Owner", ending: "Ending | Completions") -> bool:
        """Whether it is contested, or some of it is, and waits here until its lock was asked for. What is said of somebody else's lease contests nothing."""
        if isinstance(ending, Ending):
            if _is_foreign(owner, ending):
                return False
            if ending.settled or ending.cleared or not (_is_contested(ending) or self.restored.get(ending.job_id) == ending.epoch):
                return False
            self._keep(owner, ending)
            return True
        if not self.restored or not any(self.restored.get(job_id) == epoch for job_id, epoch in zip(ending.job_ids, ending.epochs, strict=True)):
            return False
        for index, (job_id, epoch) in enumerate(zip(ending.job_ids, ending.epochs, strict=True)):
            one = Ending(job_id, epoch, Kind.COMPLETED, ending.sink, ending.result(index))
            if _is_foreign(owner, one):
                owner.endings.append(one)
            else:
                self._keep(owner, one)
        return True

    def _keep(self, owner: "Owner", ending: Ending) -> None:
        """Keeps a contested ending until its lock was asked for. What is said again is kept once for each who is to be answered: an agent that came back, or a call. That
        nobody claimed a lease is so until something else is found of it: then its agent came back meanwhile, and that end would not be decided any more.
        """
        endings, _ = self._contested.setdefault((ending.job_id, ending.epoch, ending.sink is not None), ([], 0.0))
        if endings and endings[0].unclaimed:
            endings[0] = ending
        elif all(other.sink is not ending.sink for other in endings):
            endings.append(ending)
        elif ending.sink is not None:
            owner.undecided.told(ending.sink.agent_id, 1)  # with the one that is kept

    def decided(self, owner: "Owner", asked: list[tuple[int, int]], locked: set[int], ended: set[int], now: float) -> None:
        """What became of the asking: endings whose job's lock is taken are decided in the next round, or dropped when a door was faster; others are tried again."""
        cleared: list[Ending] = []
        for job_id, epoch in asked:
            for agents in (True, False):  # what an agent says goes first
                found = self._contested.get((job_id, epoch, agents))
                if found is None:
                    continue
                endings, _ = found
                if job_id not in locked:
                    self._contested[job_id, epoch, agents] = (endings, now + RETRY_S)
                    continue
                del self._contested[job_id, epoch, agents]
                if job_id not in ended:
                    cleared += _cleared(endings)
                elif agents:
                    owner.stale += endings
                    owner.stale_wake.set()
            if job_id in ended:
                self.wake.set()
            if job_id in ended or job_id not in locked:
                self.busy.add(job_id)
        owner.endings.extendleft(reversed(cleared))  # the first of one lease ends it, the others come late

    def settling(self) -> list[int]:
        """Jobs whose ending waits for somebody's transaction."""
        return sorted({job_id for job_id, _, _ in self._contested})

    def settled(self, taken: InboxTaken) -> None:
        """The round is durable."""
        self.cursor = taken.cursor
        chunk, self._storing = self._storing, None
        if chunk is not None and not chunk.done.done():
            chunk.done.set_result(True)

    def drop(self, owner: "Owner") -> None:
        """What waits for its round is not taken now: it is read again later."""
        chunk, self._waiting = self._waiting, None
        if chunk is None:
            return
        for reserved in chunk.reserved:
            owner.depth.release(reserved)
        if not chunk.done.done():
            chunk.done.set_result(False)


async def take_inbox(owner: "Owner", inbox: Inbox, reader: Reader, heads: Heads) -> None:
    """Takes up what comes, until cancelled. While the database is away, or the owner takes nothing, it waits."""
    doors = owner.doors
    known = False
    while True:
        doors.wake.clear()
        try:
            if not known:
                doors.cursor, known = await inbox.cursor(), True
            more = await _take_chunk(owner, inbox, reader, heads)
        except (Busy, Unavailable, ReadFailed, *ANY_FAILURE) as error:
            log.debug("inbox not taken; trying again", reason=f"{type(error).__name__}: {error}")
            await asyncio.sleep(RETRY_S)
            continue
        if not more:
            try:
                async with asyncio.timeout(POLL_S):
                    await doors.wake.wait()
            except TimeoutError:
                continue


async def _take_chunk(owner: "Owner", inbox: Inbox, reader: Reader, heads: Heads) -> bool:
    """Takes one chunk and returns once it is durable; whether there may be more."""
    if owner.refusing is not None:
        raise owner.refusing
    doors = owner.doors
    rows, cursor = await inbox.read(doors.cursor, 1 if inbox.suspects.singly else AT_ONCE, AT_ONCE_BYTES)
    more = bool(rows) or cursor.upto is not None
    if not rows and (owner.shard.of == 1 or owner.now() < doors.store_at):
        doors.cursor = cursor  # not worth a commit
        return more
    doors.store_at = owner.now() + STORE_S
    with Reruns(owner) as reruns:
        await _take_rows(owner, inbox, reader, heads, Chunk(cursor, [], [], [], reruns, [], asyncio.get_running_loop().create_future()), rows)
    return more


async def _take_rows(owner: "Owner", inbox: Inbox, reader: Reader, heads: Heads, chunk: Chunk, rows: list[InboxRow]) -> None:
    """Makes the rows a chunk, and returns once it is durable."""
    if owner.shard.of > 1:
        rows = [row for row in rows if await _is_own(owner, row)]
    suspects = inbox.suspects
    suspects.in_hand = [row.inbox_id for row in rows if row.kind != COMPLETED]
    completed = [row for row in rows if row.kind == COMPLETED]
    if completed:
        chunk.completions = await inbox.completions(completed)
        await chunk.reruns.read(heads, chunk.completions)
    keyed: list[tuple[int, asyncio.Future[tuple[int, bool]]]] = []
    for row in rows:
        if row.kind == COMPLETED:
            continue
        try:
            found = await _read(owner, reader, row, heads, suspects.refused)
        except (Busy, Unavailable, ReadFailed, *ANY_FAILURE):
            raise
        except BrokerError as error:
            chunk.results.append(InboxResult(row.inbox_id, None, reader.reason(error), str(error)))
            continue
        except Exception as error:  # a defect: it costs this row, not the shard, whose every owner would meet it
            log.error("a submission through the SQL door could not be dealt with, and is refused; please report it", inbox_id=row.inbox_id, exc_info=error)
            chunk.results.append(InboxResult(row.inbox_id, None, "INTERNAL", f"the broker could not deal with it; its log has more under inbox_id {row.inbox_id}"))
            continue
        if found.keyed is not None:
            keyed.append((row.inbox_id, found.keyed))
        else:
            chunk.jobs.append((row.inbox_id, found.job))
    for inbox_id, answer in keyed:
        chunk.results.append(await _result(inbox_id, answer, reader))
    await chunk.reruns.begin_unknown(heads, chunk.completions)
    if owner.refusing is not None:
        raise owner.refusing
    chunk.jobs = [(inbox_id, job) for inbox_id, job in chunk.jobs if _admitted(owner, chunk, inbox_id, job, reader)]
    owner.doors.put(chunk)
    owner.wake.set()
    if not await chunk.done:
        raise Busy("the owner takes nothing now", retry_after_s=RETRY_S)
    suspects.clear()


async def _is_own(owner: "Owner", row: InboxRow) -> bool:
    """Whether a row is the shard's. A domain that there is not yet may lie in another one: it is made now, and all say the same of it. Rows of one that cannot be made
    are the first shard's, which refuses them.
    """
    if row.kind == COMPLETED:
        return True
    try:
        return owner.shard.holds(await owner.types.domain_id(row.domain))
    except REFUSED_VALUES:
        return owner.shard.number == 0


async def _read(owner: "Owner", reader: Reader, row: InboxRow, heads: Heads, refused: dict[int, str]) -> DoorJob:
    """The job of a row. Raises as `Reader.job`, and InvalidField when Postgres takes no such domain or type, or has `refused` to store the job."""
    if row.inbox_id in refused:
        raise _unstorable(refused[row.inbox_id])
    try:
        return await reader.job(owner, row, heads)
    except REFUSED_VALUES as error:
        raise _unstorable(str(error)) from error


def _unstorable(why: str) -> InvalidField:
    return InvalidField("job", "it has a value that the database does not take: " + why.replace("\n", "; "))


def _cleared(endings: list[Ending]) -> list[Ending]:
    for ending in endings:
        ending.cleared = True
    return endings


def _is_foreign(owner: "Owner", ending: Ending) -> bool:
    """Whether an agent speaks of a lease that is somebody else's now."""
    live = owner.live_jobs.get(ending.job_id)
    return ending.sink is not None and live is not None and live.seq == ending.epoch and live.agent_id != ending.sink.agent_id


def _is_contested(ending: Ending) -> bool:
    return ending.door or (ending.sink is None and not ending.settled)


def _complete(owner: "Owner", round_: Round, reruns: Reruns, done: DoorCompletion) -> None:
    """A job was completed in somebody's transaction: the event is stored, all else happens now. It is counted with its row, whatever memory knows of the job."""
    live = owner.live_jobs.get(done.job_id)
    entry = owner.types.by_id[done.type_id]
    current = live is not None and live.seq == done.epoch and live.state is State.PROCESSING
    counts = round_.batch.counts
    if not current and (live is not None or not done.newest):  # something happened to it since
        counts[done.type_id, State.PROCESSING, 0] -= 1
        counts[done.type_id, State.COMPLETED, done.delete_minute or 0] += 1
        return
    if live is None:
        live = Live(done.job_id, entry, done.priority, done.instance_id)
        live.seq, live.kind, live.state = done.epoch, Kind.GRANTED, State.PROCESSING
        live.run, live.attempt, live.losses, live.agent_id = done.run, done.attempt, done.losses, done.agent_id
    pending = aborts.before_end(owner, live)
    owner.settle_job(round_, live, Kind.COMPLETED, State.COMPLETED)
    minute = round_.batch.event_place[-1] & 0x7FFF_FFFF
    round_.batch.drop_event()
    counts[done.type_id, State.COMPLETED, minute] -= 1
    counts[done.type_id, State.COMPLETED, done.delete_minute or 0] += 1
    if pending is not None:
        wish = pending.abort.requeue
        if wish is not None and wish.include_completed and not reruns.may_begin(round_, done, wish):
            pending.abort.requeue = None
        aborts.after_end(owner, round_, live, pending, done.delete_minute, AbortStep.FINISHED)


def _admitted(owner: "Owner", chunk: Chunk, inbox_id: int, job: NewJob, reader: Reader) -> bool:
    """Whether depth limits leave room for a job; one that has none is refused."""
    try:
        chunk.reserved.append(owner.depth.reserve([job]))
    except QueueFull as error:
        chunk.results.append(InboxResult(inbox_id, None, reader.reason(error), str(error)))
        return False
    return True


async def _result(inbox_id: int, answer: "asyncio.Future[tuple[int, bool]]", reader: Reader) -> InboxResult:
    try:
        job_id, _ = await answer
    except (Busy, Unavailable):
        raise
    except BrokerError as error:
        return InboxResult(inbox_id, None, reader.reason(error), str(error))
    return InboxResult(inbox_id, job_id)
