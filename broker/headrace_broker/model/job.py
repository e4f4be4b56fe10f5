"""States of a job, the events that move it, and the fold that says where it stands.

    waiting --granted--> processing --completed--> completed
       ^                     |   \\--failed, timed_out, lost (budget spent)--> error | aborted
       |                     |   \\--aborted--> aborted
       \\--failed, timed_out, lost, released, rejected, owner_changed--/
    waiting --dependencies_met--> waiting, --dependency_failed--> error | aborted
    waiting --aborted--> aborted         (also --completed--> completed, for an outcome that came late)
    waiting --expired--> error | aborted (it did not start in time)
    completed, error, aborted --requeued--> waiting      --purged--> gone
    updated leaves a waiting or settled job where it is: its priority, payload, delete date, ... changed

`TRANSITIONS` is that picture as a table; a test compares it with every event that the broker writes. An event carries all that the state after it needs
(run, attempt, losses), so that the state is the newest event alone: `fold` is one step, and recovery reads one row for each job.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class State(IntEnum):
    """Where a job stands; the numbers are stored and are those of the wire."""

    WAITING = 1
    PROCESSING = 2
    COMPLETED = 3
    ERROR = 4
    ABORTED = 5
    GONE = 6  # purged; hidden everywhere until its rows are removed


SETTLED = frozenset({State.COMPLETED, State.ERROR, State.ABORTED})
MAX_RUN = 2**15 - 1
"""Runs of one job: the database holds no higher number, and a flush with one would be refused for ever."""


class Kind(IntEnum):
    """What happened; the numbers are stored."""

    GRANTED = 1
    COMPLETED = 2
    FAILED = 3
    TIMED_OUT = 4
    LOST = 5
    RELEASED = 6
    REJECTED = 7
    OWNER_CHANGED = 8
    ABORTED = 9
    REQUEUED = 10
    PURGED = 11
    EXPIRED = 12
    DEPENDENCIES_MET = 13
    DEPENDENCY_FAILED = 14
    UPDATED = 16


class NoteKind(IntEnum):
    """What is written down beside the events; the numbers are stored."""

    ABORT_REQUESTED = 1
    CHECKPOINT = 2
    LATE_OUTCOME = 3
    BATCH_SEALED = 4
    ABORT_STEP = 6  # how far an abort came: see `AbortStep`
    AMENDED = 7  # what holds beside the submission from the event of this seq on (`model/amended.py`); 0: from the submission on
    PAYLOAD = 8  # the payload from the event of this seq on
    OPERATION = 12  # the bulk operation, by its id, that made the event of this seq, or asked for the abort of this lease
    WAITS_FOR = 13  # the run that the event of this seq began waits for these jobs (JSON: id -> run in which that must have completed; of a batch's callback: none)


class AbortStep(StrEnum):
    """How far an abort came, after it was asked for; the texts are stored. The first two are the agent's word on the way, the others its end."""

    DELIVERED = "delivered"  # the agent has it, and has told the handler
    IGNORED = "ignored"  # the grace is over and the handler goes on: a thread cannot be killed, and keeps its slot
    STOPPED = "stopped"  # the handler ended within its grace, or when it was cancelled
    KILLED = "killed"  # the handler's process was ended
    FINISHED = "finished"  # the handler had completed first
    LOST = "lost"  # the lease ended without a word from its agent
    FORCED = "forced"  # the job was ended at once, whatever the handler does
    NOT_STARTED = "not_started"  # no handler ran


_ENDED_BADLY = frozenset({State.WAITING, State.ERROR, State.ABORTED})
_BACK = frozenset({State.WAITING})

TRANSITIONS: dict[tuple[State, Kind], frozenset[State]] = {
    (State.WAITING, Kind.GRANTED): frozenset({State.PROCESSING}),
    (State.WAITING, Kind.COMPLETED): frozenset({State.COMPLETED}),  # late outcome of a lost lease
    (State.WAITING, Kind.ABORTED): frozenset({State.ABORTED}),
    (State.WAITING, Kind.EXPIRED): frozenset({State.ERROR, State.ABORTED}),
    (State.WAITING, Kind.DEPENDENCIES_MET): _BACK,
    (State.WAITING, Kind.DEPENDENCY_FAILED): frozenset({State.ERROR, State.ABORTED}),
    (State.PROCESSING, Kind.COMPLETED): frozenset({State.COMPLETED}),
    (State.PROCESSING, Kind.FAILED): _ENDED_BADLY,
    (State.PROCESSING, Kind.TIMED_OUT): _ENDED_BADLY,
    (State.PROCESSING, Kind.LOST): _ENDED_BADLY,
    (State.PROCESSING, Kind.RELEASED): _BACK,
    (State.PROCESSING, Kind.REJECTED): _BACK,
    (State.PROCESSING, Kind.OWNER_CHANGED): _BACK,
    (State.PROCESSING, Kind.ABORTED): frozenset({State.ABORTED}),
    **{(state, Kind.REQUEUED): _BACK for state in SETTLED},
    **{(state, Kind.PURGED): frozenset({State.GONE}) for state in SETTLED},
    **{(state, Kind.UPDATED): frozenset({state}) for state in {State.WAITING, *SETTLED}},
}


@dataclass(frozen=True, slots=True)
class Head:
    """Where a job stands: what its newest event says. `seq` 0 means that nothing happened since it was submitted."""

    seq: int = 0
    state: State = State.WAITING
    run: int = 1
    attempt: int = 0
    losses: int = 0


SUBMITTED = Head()


@dataclass(frozen=True, slots=True)
class Event:
    """The part of an event that moves the state."""

    seq: int
    kind: Kind
    state: State
    run: int
    attempt: int
    losses: int


class BrokenHistory(Exception):
    """An event does not follow from the one before it."""


def step(head: Head, event: Event) -> Head:
    """The state after `event`.

    Raises:
        BrokenHistory: the event's seq is not the next one, or the table has no such transition, or its numbers do not follow.
    """
    if event.seq != head.seq + 1:
        raise BrokenHistory(f"event {event.seq} after {head.seq}")
    if event.state not in TRANSITIONS.get((head.state, event.kind), ()):
        raise BrokenHistory(f"{event.kind.name} leads from {head.state.name} to {event.state.name}")
    if event.kind is Kind.REQUEUED:
        follows = (event.run, event.attempt, event.losses) == (head.run + 1, 0, 0)
    elif event.kind is Kind.GRANTED:
        follows = (event.run, event.attempt, event.losses) == (head.run, head.attempt + 1, head.losses)
    else:
        uncharged = event.kind in UNCHARGED
        follows = event.run == head.run and event.attempt == head.attempt - uncharged and event.losses == head.losses + (event.kind is Kind.LOST)
    if not follows:
        raise BrokenHistory(f"{event} does not follow {head}")
    return Head(event.seq, event.state, event.run, event.attempt, event.losses)


UNCHARGED = frozenset({Kind.RELEASED, Kind.REJECTED, Kind.OWNER_CHANGED, Kind.LOST})
"""Endings that give the attempt back: a loss has its own budget, the others charge nothing."""


def fold(events: Iterable[Event]) -> Head:
    """The state of a job with these events, oldest first; checks every step (see `step`)."""
    head = SUBMITTED
    for event in events:
        head = step(head, event)
    return head


class Disposition(IntEnum):
    """What became of an outcome; the numbers are those of the wire."""

    ACCEPTED = 1
    ACCEPTED_LATE = 2
    ALREADY_APPLIED = 3
    SUPERSEDED = 4
    UNKNOWN = 5
    NOT_OWNER = 6
