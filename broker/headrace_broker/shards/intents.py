"""What callers want of the owner. Intents wait in the owner's queues until the next flush is built; only then are they decided."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from headrace_broker.model.amended import Update
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError
from headrace_broker.model.job import Disposition, Kind, NoteKind, State
from headrace_broker.shards.descents import Descent
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.batch import Body, KeyedRow, UniqueName, payload_of
from headrace_broker.store.heads import StoredHead

if TYPE_CHECKING:
    from headrace_broker.shards.pages import Page

TIE_BYTES = 64
"""What each job that another one depends on takes in memory, about, while that one is queued."""
NewJob = tuple[TypeEntry, int, float, Body]
"""(type, priority, available_at in seconds since 1970 by the database's clock or 0 for at once, body)"""


@dataclass(slots=True, eq=False)
class PlainJobs:
    """Jobs of one type and priority that may start at once and have nothing but a payload: decided in columns, at a tenth of the cost."""

    entry: TypeEntry
    priority: int
    payloads: list[bytes]

    def __len__(self) -> int:
        return len(self.payloads)


@dataclass(slots=True, eq=False)
class Submission:
    """Jobs without keys; `done` gets their ids, in order, once they are durable."""

    jobs: list[NewJob] | PlainJobs
    done: "asyncio.Future[list[int]]"
    reserved: Counter[TypeEntry] | None = None  # room under depth limits


@dataclass(slots=True, eq=False)
class KeyedJob:
    """A job that carries a key or is tied to others; `done` gets (job_id, existing), or IdempotencyConflict, UniqueKeyTaken, InvalidState or InvalidField."""

    job: NewJob
    domain_id: int
    key: str  # idempotency key; empty: none
    body_hash: bytes
    done: "asyncio.Future[tuple[int, bool]]"
    unique_key: str = ""  # empty: none; the body's `more` has it too
    depends_on: tuple[int, ...] | None = (
        None  # it is held until these have completed; None: it waits for no other; empty: it is the callback of a batch. The body's `more` has it too
    )
    batch_id: int = 0  # it is a member of this batch, while that is open; 0: of none. The body's `more` has it too
    return_holder: bool = True  # the answer when a live job holds the unique key: that job; False: UniqueKeyTaken
    other_hashes: Sequence[bytes] = ()  # which say too that the body is the same
    reserved: Counter[TypeEntry] | None = None  # room under depth limits

    @property
    def key_name(self) -> UniqueName:
        """Its idempotency key within all domains."""
        return self.domain_id, self.key

    @property
    def unique_name(self) -> UniqueName:
        """Its unique key within all domains."""
        return self.domain_id, self.unique_key

    @property
    def size_bytes(self) -> int:
        """How much it takes of what may wait for its flush."""
        return len(payload_of(self.job[3])) + TIE_BYTES * len(self.depends_on or ())

    def row(self) -> KeyedRow:
        """What is stored beside the job."""
        return self.domain_id, self.key or None, self.body_hash if self.key else None


class AckSink(Protocol):
    """Who is told what became of outcomes, once that is durable. Outcomes of leases that are not its agent's are unknown."""

    @property
    def agent_id(self) -> int:
        """The life of the agent that the outcomes are of; 0: of one that nobody knows."""

    def ack(self, job_ids: list[int], epochs: list[int], disposition: Disposition) -> None:
        """Each outcome is named in one call; those named together had the same fate."""


@dataclass(slots=True, eq=False)
class Ending:
    """An attempt ended: as its agent says (`sink` set), or as the broker finds (`sink` None)."""

    job_id: int
    epoch: int
    kind: Kind
    sink: AckSink | None = None
    result: bytes | None = None
    error: str | None = None  # JSON: code, message, fingerprint, traceback
    permanent: bool = False
    delay_s: float | None = None  # instead of the type's rule
    reason: str | None = None
    killed: bool = False  # the handler did not stop by itself
    door: bool = False  # its handler has used a transaction that may complete the job
    settled: bool = False  # such a transaction was committed: the ledger has the ending
    cleared: bool = False  # no door can contest it: its holder says so, or the lock of the job is taken
    lease_until: float = 0.0  # monotonic: its agent may go on until then
    unclaimed: bool = False  # nobody had claimed the lease since a takeover, when the broker found so


@dataclass(slots=True, eq=False)
class Completions:
    """Attempts that completed, as their agent says, in columns. `results` None: none of them has one."""

    job_ids: list[int]
    epochs: list[int]
    results: list[bytes] | None
    sink: AckSink

    def __len__(self) -> int:
        return len(self.job_ids)

    def result(self, index: int) -> bytes | None:
        """The result of one attempt."""
        return self.results[index] or None if self.results is not None else None

    def ending(self, index: int) -> Ending:
        """One of them by itself."""
        return Ending(self.job_ids[index], self.epochs[index], Kind.COMPLETED, self.sink, self.result(index))


class Verb(Enum):
    """What a person or program asks to be done to jobs."""

    REQUEUE = "requeue"
    ABORT = "abort"
    PURGE = "purge"
    UPDATE = "update"
    REPLACE = "replace"  # asked for by a submit that meets its unique key
    SEAL = "seal"
    EXPIRE = "expire"  # asked for by the broker itself: it did not start in time


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one job of a call. `error` None: done, and `state` is the job's state now."""

    job_id: int
    state: State | None
    error: BrokerError | None = None


@dataclass(frozen=True, slots=True)
class Requeue:
    """A new run that somebody asks for. `payload` None: the newest one again. `include_completed`: also if the run that is to be aborted first completes."""

    actor: str
    reason: str
    payload: bytes | None = None
    content_type: str = ""
    include_completed: bool = False


@dataclass(slots=True, eq=False)
class Note:
    """A note to be stored; `done`, if set, is told when it is durable."""

    job_id: int
    epoch: int
    kind: NoteKind
    data: bytes
    actor: str | None = None
    done: "asyncio.Future[None] | None" = None


@dataclass(slots=True, eq=False)
class ChangeIntent:
    """Jobs to be changed, with what the database said of them. `done` gets a Change for each, or None where the job moved meanwhile and must be read again."""

    verb: Verb
    heads: list[StoredHead]
    caller: Caller
    reason: str
    moved: set[int]  # jobs that changed after they were read; grows until the intent is decided
    done: "asyncio.Future[list[Change | None]]"
    include_completed: bool = False
    grace_s: float = 30.0
    force: bool = False
    abort_first: bool = False  # requeue: what is not settled is aborted first
    payload: bytes | None = None  # requeue: of the new run
    content_type: str = ""
    update: Update | None = None
    unique_holders: dict[UniqueName, int] = field(default_factory=dict)  # of the unique keys of these jobs, where a live job has it
    keys_moved: set[UniqueName] = field(default_factory=set)  # unique keys that changed hands after that was read; grows until the intent is decided
    descent: Descent | None = None  # requeue: of jobs that hang together
    replacement: NewJob | None = None  # replace: what the job is to become
    asked: bool = False  # the locks of the jobs that it ends by force were asked for
    page: "Page | None" = None  # of a bulk operation, which has its own rows in the audit

    @property
    def actor(self) -> str:
        """Who asks, as the job's history names them."""
        return self.caller.shown
