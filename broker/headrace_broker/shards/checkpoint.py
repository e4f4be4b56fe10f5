"""Checkpoints: what is unsettled, written down every now and then, so that whoever takes over need not read history (see `recover`).

A snapshot is taken between two flushes, when memory says what is durable and nothing more; copying the arrays costs a millisecond for a million jobs. A side task
writes it beside the flushes. The row that makes it valid is then written by the flusher, between two flushes, on the life's own connection.

Recovery reads the newest checkpoint, the jobs above its highest id, and the jobs that anything happened to since. "Since" is told by the times of events, and their clock
may be set back: so `floor` is the earliest time of any flush after the snapshot, taken from the answers to those flushes.
"""

import asyncio
import itertools
import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from headrace_broker.model.terms import Terms
from headrace_broker.store.checkpoints import CheckpointStore, Chunk, ChunkKind
from headrace_broker.store.ledger import Ledger
from headrace_broker.store.pool import ANY_FAILURE

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

PERIOD_S = 15.0
JOBS_PER_S = 100_000  # unsettled jobs that make the period a second longer
CHUNK_JOBS = 100_000
TERMS_JOBS = 10_000
"""The same of jobs that have terms, which are put together one by one: 100,000 of them held up the event loop for a quarter of a second."""
POLL_S = 0.005

log = structlog.get_logger("headrace.checkpoint")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was unsettled after flush `n` of a life; arrays are copies. `timed`: ids, what, and when each is due in seconds since 1970 less `clock_s`."""

    life_id: int
    n: int
    max_id: int
    ready: "list[tuple[int, int, array[int]]]"  # type_id, priority, ids
    timed: "tuple[array[int], array[int], array[float]]"
    clock_s: float
    live: "array[int]"
    dropped: "array[int]"
    terms: "list[tuple[int, Terms, int, array[int]]]"  # type_id, terms, priority, ids
    terms_timed: "tuple[array[int], array[int], array[float]]"  # as `timed`, with places in `lines` where that has types
    lines: dict[int, tuple[int, Terms]]  # type_id, terms

    @classmethod
    def take(cls, owner: "Owner", life_id: int, n: int) -> "Snapshot":
        """Of an owner none of whose decisions is under way."""
        ready = owner.lanes.copies()
        terms = [(line.entry.type_id, line.terms, priority, job_ids) for line, priority, job_ids in owner.lines.entries()]
        live, dropped = array("q", owner.live_jobs), array("q", owner.lanes.stale())
        timed, terms_timed = owner.timers.columns(), owner.lines.timers.columns()
        return cls(life_id, n, owner.numbering.newest, ready, timed, owner.clock.offset_s, live, dropped, terms, terms_timed, owner.lines.places())

    @property
    def jobs(self) -> int:
        """How many entries it has."""
        return sum(len(ids) for _, _, ids in self.ready) + sum(len(ids) for *_, ids in self.terms) + len(self.timed[0]) + len(self.live) + len(self.terms_timed[0])

    def chunks(self) -> Iterator[Chunk]:
        """What is to be written, in pieces."""
        for type_id, priority, ids in self.ready:
            for part in _parts(ids):
                yield Chunk(ChunkKind.READY, part, type_id, priority)
        ids, whats, dues = self.timed
        for at in range(0, len(ids), CHUNK_JOBS):
            due = array("d", [due + self.clock_s for due in dues[at : at + CHUNK_JOBS]])
            yield Chunk(ChunkKind.TIMED, ids[at : at + CHUNK_JOBS], what=whats[at : at + CHUNK_JOBS], due=due)
        for kind, numbers in ((ChunkKind.LIVE, self.live), (ChunkKind.DROPPED, self.dropped)):
            for part in _parts(numbers):
                yield Chunk(kind, part)
        yield from self._chunks_of_terms()

    def _chunks_of_terms(self) -> Iterator[Chunk]:
        """Jobs that have terms, each chunk with those that its jobs have."""
        ready = ((type_id, terms, priority, job_id, 0.0) for type_id, terms, priority, ids in self.terms for job_id in ids)
        timed = (
            (*self.lines[what >> 32], (what & 0xFFFF_FFFF) - 0x8000_0000, job_id, due + self.clock_s)
            for job_id, what, due in zip(*self.terms_timed, strict=True) if what >> 32 in self.lines
        )  # fmt: skip
        jobs = itertools.chain(ready, timed)
        while part := list(itertools.islice(jobs, TERMS_JOBS)):
            places = {place: number for number, place in enumerate(dict.fromkeys((type_id, terms) for type_id, terms, *_ in part))}
            what = array("q", [places[type_id, terms] << 32 | priority + 0x8000_0000 for type_id, terms, priority, *_ in part])
            yield Chunk(ChunkKind.TERMS, array("q", [job[3] for job in part]), what=what, due=array("d", [job[4] for job in part]), terms=list(places))


def _nothing() -> None:
    return None


def _parts(ids: "array[int]") -> "Iterator[array[int]]":
    for at in range(0, len(ids), CHUNK_JOBS):
        yield ids[at : at + CHUNK_JOBS]


class Checkpoints:
    """Used by the flusher's task, but for `run`. `floor`: no event stored since the newest checkpoint is older; None: there is no checkpoint."""

    def __init__(self, store: CheckpointStore, floor: datetime | None) -> None:
        self._store = store
        self.floor = floor
        self._next_floor: datetime | None = None  # the same for the snapshot that is being written; None: nothing was stored since
        self._snapshot: Snapshot | None = None  # being written
        self._written: tuple[int, int] | None = None  # (side, chunks) of the snapshot, once it is stored
        self._wake = asyncio.Event()
        self.on_written: Callable[[], object] = _nothing
        """Called when a snapshot is stored and can be published."""
        self._published = asyncio.Event()
        self._taken_at = self._newest_at = -math.inf  # when the snapshot that is being written was taken, and that of the newest checkpoint
        self._due = 0.0
        self._changed = True
        self._newest: datetime | None = None  # time of the newest flush

    @property
    def writing(self) -> bool:
        """Whether a snapshot was taken and is not stored yet."""
        return self._snapshot is not None and self._written is None

    def flushed(self, at: datetime, *, changed: bool) -> None:
        """A flush with this time is durable; `changed`: it held facts."""
        self._changed = self._changed or changed
        self._newest = at
        if self.floor is not None:
            self.floor = min(self.floor, at)
        if self._snapshot is not None:
            self._next_floor = min(self._next_floor or at, at)

    def take_if_due(self, owner: "Owner", ledger: Ledger, now: float) -> None:
        """Takes a snapshot when it is time for one; between two flushes only."""
        if now < self._due or not self._changed or self._snapshot is not None or self._newest is None:
            return
        self._snapshot = Snapshot.take(owner, ledger.life_id, ledger.n)
        self._next_floor, self._changed = None, False
        self._taken_at = now
        self._due = now + PERIOD_S + self._snapshot.jobs / JOBS_PER_S
        self._wake.set()

    async def publish(self, ledger: Ledger) -> None:
        """Makes the snapshot that was written the newest checkpoint. Raises what the ledger raises."""
        if self._written is None:
            return
        snapshot, (side, chunks) = self._snapshot, self._written
        floor = self._next_floor or self._newest
        assert snapshot is not None
        assert floor is not None  # snapshots are taken after a flush
        await ledger.put_checkpoint(snapshot.life_id, snapshot.n, side, chunks, snapshot.max_id, floor)
        self.floor, self._snapshot, self._written, self._newest_at = floor, None, None, self._taken_at
        self._published.set()

    async def renew(self, now: float) -> None:
        """Returns when the newest checkpoint says what was unsettled `now` or later; the flusher goes on meanwhile, and is to be woken by the caller, once."""
        self._due = now
        while self._newest_at < now and (self._changed or self._snapshot is not None):
            self._published.clear()
            await self._published.wait()

    async def write_last(self, owner: "Owner", ledger: Ledger, now: float) -> None:
        """Writes a snapshot of this moment, whatever is due; `publish` it then. While `run` is writing one, that one has to do."""
        self._due = now
        self.take_if_due(owner, ledger, now)
        while self.writing:
            await asyncio.sleep(POLL_S)

    async def run(self) -> None:
        """Writes snapshots until cancelled. One that cannot be written is given up: the next one comes soon."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._snapshot is not None:
                self._written = await self._write(self._snapshot)
                if self._written is None:
                    self._snapshot, self._changed = None, True
                else:
                    self.on_written()

    async def _write(self, snapshot: Snapshot) -> tuple[int, int] | None:
        try:
            await self._store.summarize()
            return await self._store.write(snapshot.life_id, snapshot.n, snapshot.chunks())
        except ANY_FAILURE as error:
            log.warning("checkpoint not written; recovery would read more", reason=f"{type(error).__name__}: {error}")
            return None
