"""The rows of one flush, column by column, as the flush statements take them.

The owner of the shards appends to these lists while it decides; nothing here is shared between tasks. Optional columns stay empty until a row uses them, and then
hold one entry for each row: an empty array costs nothing to send. Small numbers that every row has share a 64-bit one, since the driver and Postgres spend more on
each element of an array than on the bits in it: the flush statement takes them apart again.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from headrace_broker.model.amended import submitted
from headrace_broker.model.audit import AuditEntry
from headrace_broker.model.job import Kind, NoteKind, State
from headrace_broker.store.inbox import InboxTaken
from headrace_broker.store.operations import PageRow

MAX_ROWS = 2000
"""Facts in one flush, about: more would make everyone wait longer and gains no throughput (1,000 jobs a flush are 98 % of the best measured)."""


class FullBody(NamedTuple):
    """A job that has more than a payload. `labels` and `more` are JSON objects, as text."""

    payload: bytes
    content_type: str | None = None
    instance_id: str | None = None
    labels: str | None = None
    trace_context: str | None = None
    more: str | None = None  # what few jobs have, by name, so that no job pays for a column that it does not use


Body = bytes | FullBody
"""What was submitted beside type, priority and time; nearly always the payload and nothing else."""


UniqueName = tuple[int, str]
"""An idempotency or unique key: (domain_id, key)."""
KeyedRow = tuple[int, str | None, bytes | None]
"""What is stored beside a job that has keys or ties: (domain_id, idempotency key, body hash). The rest is in its body's `more`."""
FireRow = tuple[int, int, str, datetime, datetime | None, str]
"""A tick of a schedule to be decided: (schedule_id, version, verb, nominal time, time of the next tick, request id of a run that was asked for)."""


def instance_of(body: Body) -> str | None:
    """The business case that a body names."""
    return None if isinstance(body, bytes) else body.instance_id


def keep_s_of(body: Body) -> float | None:
    """How long the job says it is kept once it has settled, in seconds; None: it does not say."""
    amended = None if isinstance(body, bytes) else submitted(body.more)
    return amended.delete_after_s if amended is not None else None


def payload_of(body: Body) -> bytes:
    """The input of the handler."""
    return body if isinstance(body, bytes) else body.payload


@dataclass(slots=True)
class Batch:
    """Facts that one commit will store. `n` is the number of the flush within its life."""

    counts: Counter[tuple[int, State, int]] = field(default_factory=Counter)  # (type_id, state, delete_minute or 0) -> change
    max_id: int = 0
    lease_s: float = 0.0  # of all grants in the batch
    packed: tuple[Any, ...] | None = None  # the columns of what most jobs are, as Postgres reads them: see `Ledger.pack`
    inbox: InboxTaken | None = None  # what the batch takes up from the SQL doors; None: nothing
    claims: dict[UniqueName, int] = field(default_factory=dict)  # unique keys of jobs that are live again -> the job
    # jobs
    job_id: list[int] = field(default_factory=list)
    job_what: list[int] = field(default_factory=list)  # type_id << 32 | priority + 2^31
    job_available_at: list[datetime | None] = field(default_factory=list)
    job_body: list[Body] = field(default_factory=list)
    # events
    event_job: list[int] = field(default_factory=list)
    event_place: list[int] = field(default_factory=list)  # seq << 32 | delete minute, 0: none
    event_who: list[int] = field(default_factory=list)  # type_id << 32 | agent_id, 0: nobody
    event_step: list[int] = field(default_factory=list)  # kind | state << 8 | run << 16 | attempt << 32 | losses << 48
    event_result: list[bytes | None] = field(default_factory=list)
    event_available_at: list[datetime | None] = field(default_factory=list)
    event_actor: list[str | None] = field(default_factory=list)
    event_reason: list[str | None] = field(default_factory=list)
    event_error: list[str | None] = field(default_factory=list)
    # notes
    note_job: list[int] = field(default_factory=list)
    note_epoch: list[int] = field(default_factory=list)
    note_kind: list[int] = field(default_factory=list)
    note_actor: list[str | None] = field(default_factory=list)
    note_reason: list[str | None] = field(default_factory=list)
    note_data: list[bytes | None] = field(default_factory=list)
    # alerts
    alert_job: list[int] = field(default_factory=list)
    alert_type: list[int] = field(default_factory=list)
    alert_seq: list[int] = field(default_factory=list)
    alert_kind: list[str] = field(default_factory=list)
    alert_error: list[str | None] = field(default_factory=list)
    # who asked for some of this: stored in a statement of its own, in the same transaction
    audit: list[AuditEntry] = field(default_factory=list)
    pages: list[PageRow] = field(default_factory=list)  # of bulk operations, likewise

    @property
    def has_more(self) -> bool:
        """Whether something is to be stored beside the facts, in the same transaction."""
        return bool(self.claims or self.audit or self.pages or self.inbox is not None)

    def kinds(self) -> Counter[int]:
        """How many events there are of each kind."""
        found: Counter[int] = Counter()
        for step, count in Counter(self.event_step).items():
            found[step & 255] += count
        return found

    def rows(self) -> int:
        """How many facts there are."""
        return len(self.job_id) + len(self.event_job) + len(self.note_job)

    def add_job(self, job_id: int, type_id: int, priority: int, body: Body, available_at: datetime | None = None) -> None:
        """Appends one job."""
        self.job_id.append(job_id)
        self.job_what.append(type_id << 32 | priority + 0x8000_0000)
        self.job_body.append(body)
        if available_at is not None:
            _set(self.job_available_at, len(self.job_id) - 1, available_at)

    def add_plain(self, job_ids: list[int], type_id: int, priority: int, payloads: list[bytes]) -> None:
        """Appends jobs of one type and priority that are to be run at once and have nothing but a payload."""
        self.job_id += job_ids
        self.job_what += [type_id << 32 | priority + 0x8000_0000] * len(job_ids)
        self.job_body += payloads

    def add_grants(self, job_ids: list[int], type_id: int, agent_id: int) -> None:
        """Appends first grants of jobs of one type to one agent."""
        count = len(job_ids)
        self.event_job += job_ids
        self.event_place += [1 << 32] * count
        self.event_who += [type_id << 32 | agent_id] * count
        self.event_step += [Kind.GRANTED | State.PROCESSING << 8 | 1 << 16 | 1 << 32] * count

    def add_event(
        self, job_id: int, seq: int, type_id: int, kind: Kind, state: State, run: int, attempt: int, losses: int, agent_id: int | None, *,
        delete_minute: int | None = None, result: bytes | None = None,
    ) -> None:  # fmt: skip
        """Appends one event; `extend_event` adds the rarer columns to it."""
        self.event_job.append(job_id)
        self.event_place.append(seq << 32 | (delete_minute or 0))
        self.event_who.append(type_id << 32 | (agent_id or 0))
        self.event_step.append(kind | state << 8 | run << 16 | attempt << 32 | losses << 48)
        if result is not None:
            self.set_result(len(self.event_job) - 1, result)

    def drop_event(self) -> None:
        """Takes the event that was added last back; it must have none of the rarer columns."""
        for column in (self.event_job, self.event_place, self.event_who, self.event_step):
            column.pop()

    def set_result(self, index: int, result: bytes) -> None:
        """Sets the result of an event, none of whose followers has one."""
        _set(self.event_result, index, result)

    def extend_event(self, *, available_at: datetime | None = None, actor: str | None = None, reason: str | None = None, error: str | None = None) -> None:
        """Sets the rarer columns of the event that was added last."""
        last = len(self.event_job) - 1
        if available_at is not None:
            _set(self.event_available_at, last, available_at)
        if actor is not None:
            _set(self.event_actor, last, actor)
        if reason is not None:
            _set(self.event_reason, last, reason)
        if error is not None:
            _set(self.event_error, last, error)

    def add_note(self, job_id: int, epoch: int, kind: NoteKind, *, actor: str | None = None, reason: str | None = None, data: bytes | None = None) -> None:
        """Appends one note."""
        self.note_job.append(job_id)
        self.note_epoch.append(epoch)
        self.note_kind.append(kind)
        self.note_actor.append(actor)
        self.note_reason.append(reason)
        self.note_data.append(data)

    def add_alert(self, job_id: int, type_id: int, seq: int, kind: str, error: str | None) -> None:
        """Appends one alert: `kind` is job_error or job_aborted."""
        self.alert_job.append(job_id)
        self.alert_type.append(type_id)
        self.alert_seq.append(seq)
        self.alert_kind.append(kind)
        self.alert_error.append(error)


T = TypeVar("T")


def _set(column: list[T | None], index: int, value: T) -> None:
    """Sets the last entry of an optional column, which may have had none so far."""
    column.extend([None] * (index - len(column)))
    column.append(value)


OptionalColumns = tuple[list[str | None], list[str | None], list[str | None], list[str | None], list[str | None]]


def body_columns(bodies: list[Body]) -> tuple[OptionalColumns, list[bytes]]:
    """((content_type, instance_id, labels, trace_context, more) columns, payloads); the former are empty when no body uses them."""
    if set(map(type, bodies)) <= {bytes}:
        return ([], [], [], [], []), bodies  # type: ignore[return-value]  # the check above
    full = [FullBody(body) if isinstance(body, bytes) else body for body in bodies]
    columns = [b.content_type for b in full], [b.instance_id for b in full], [b.labels for b in full], [b.trace_context for b in full], [b.more for b in full]
    return columns, [b.payload for b in full]
