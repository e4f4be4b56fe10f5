"""Reading jobs: what is stored, joined with what the owner remembers of jobs that are not settled."""

import asyncio
import json
from collections.abc import Awaitable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

from headrace_broker.actions.reach import require, secrets, types_for
from headrace_broker.actions.reachable import entries
from headrace_broker.model.errors import DatabaseUnavailable, JobNotFound
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import MAX_RUN, SETTLED, Kind, NoteKind, State
from headrace_broker.model.masked_text import masked_error, masked_text
from headrace_broker.model.permissions import Act
from headrace_broker.model.redaction import masked_labels, redacted
from headrace_broker.shards.lines import Line
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.session import Session
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.reads import AlertRow, EventRow, JobRow, LogRow, PayloadRow, Reads, RunRow

TYPES_AT_ONCE = 5000
"""Jobs whose types one statement asks for: a page of 1,000 jobs may name a million others."""
ANSWER_BYTES = 8 * 1024 * 1024
"""What one answer holds of lists whose parts may be large, about: half of what is sent in one message."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JobRead:
    """A job as readers see it."""

    row: JobRow
    domain: str
    type: str
    score: int
    wait_reason: str | None
    progress: tuple[float, str] | None
    withheld: bool = False  # payload and result are not for this reader, whatever they are
    masked: bool = False  # values of fields with secret names are not for this reader

    @property
    def told_bytes(self) -> int:
        """What is told of the job in words, and the jobs that it names, in bytes, about."""
        row = self.row
        words = [*(row.error or {}).values(), *row.labels.values(), (row.abort or {}).get("reason") or ""]
        return sum(len(str(text).encode(errors="replace")) for text in words) + 10 * len(row.depends_on or ()) + 500

    def ready_since_s(self, now_s: float) -> float:
        """Since when the job could have started, in seconds since 1970; now when its time has not come."""
        available_s = self.row.available_at.timestamp() if self.row.available_at is not None else created_at_s(self.row.job_id)
        return min(now_s, max(available_s, self.row.at.timestamp() if self.row.at is not None else 0.0))


class JobReads:
    """Reads for one owner; every call raises DatabaseUnavailable when Postgres does not answer, and JobNotFound for what is not in the domain, or not for
    the call to see."""

    def __init__(self, owner: Owner, reads: Reads, *, masks: bool = True) -> None:
        """`masks`: payloads, results and labels that are masked for the call are given that way; else whoever draws them has to do so (`reach.secrets`). What is told
        in words (errors, log lines, progress, reasons) is given masked in any case."""
        self._masks = masks
        self._owner = owner
        self._reads = reads

    async def get(self, job_id: int, domain: str, *, full: bool = False) -> JobRead:
        """One job."""
        rows = await answered(self._reads.jobs([job_id], full=full))
        if not rows:
            raise JobNotFound(job_id)
        return await self._redacted((await self._told([self._visible(rows[0], domain)]))[0])

    async def shown(self, job_ids: Sequence[int]) -> list[JobRead]:
        """These jobs in this order, without those that are gone. For ids that were found in the domain."""
        rows = await answered(self._reads.jobs(job_ids)) if job_ids else []
        types, seen = self._owner.types.by_id, types_for(Act.VIEW)
        return await self._told([self._read(row, types[row.type_id].domain) for row in rows if not self._gone(row) and seen.allow(types[row.type_id].name)])

    async def find(self, job_ids: Sequence[int], domain: str, *, full: bool = False, expired: bool = False) -> list[JobRead]:
        """Those of these jobs that are there in the domain, in this order. `expired`: also those past their delete date that are stored, as others wait for them."""
        rows = await answered(self._reads.jobs(job_ids, full=full)) if job_ids else []
        types, seen = self._owner.types.by_id, types_for(Act.VIEW)
        there = [row for row in rows if (entry := types.get(row.type_id)) is not None and entry.domain == domain and (expired or not self._gone(row))]
        return [await self._redacted(job) for job in await self._told([self._read(row, domain) for row in there if seen.allow(types[row.type_id].name)])]

    async def unseen(self, job_ids: Iterable[int]) -> set[int]:
        """Those of these jobs that are of types which the call may not see. For ids that jobs of the domain are tied to."""
        types, seen = self._owner.types.by_id, types_for(Act.VIEW)
        asked = list[int]() if seen.everything else list(set(job_ids))
        unseen = set[int]()
        for first in range(0, len(asked), TYPES_AT_ONCE):
            found = await answered(self._reads.types(sorted(asked[first : first + TYPES_AT_ONCE])))
            unseen.update(job_id for job_id, type_id in found.items() if type_id not in types or not seen.allow(types[type_id].name))
        return unseen

    async def wait(self, job_id: int, domain: str, *, wait_s: float, full: bool) -> JobRead:
        """The job when it has settled, or as it is when the time is over."""
        with self._owner.hub.subscribe(job_ids=frozenset({job_id})) as changes:
            job = await self.get(job_id, domain, full=full)
            if job.row.state in SETTLED or wait_s <= 0:
                return job
            try:
                async with asyncio.timeout(wait_s):
                    async for change in changes:
                        if change.state not in (State.WAITING, State.PROCESSING):
                            break
            except TimeoutError:
                pass
            return await self.get(job_id, domain, full=full)

    async def events(self, job_id: int, domain: str) -> tuple[JobRead, list[EventRow]]:
        """The job and its timeline, oldest first."""
        job = await self.get(job_id, domain)
        events = await answered(self._reads.events(job_id))
        return job, await asyncio.to_thread(_masked_events, events, secrets(job.type), labels=self._masks) if job.masked else events

    async def runs(self, job_id: int, domain: str, *, full: bool, below: int = MAX_RUN + 1, limit: int) -> tuple[JobRead, list[RunRow]]:
        """The job and its runs below one, oldest first, the newest `limit` of them, `full` only as many as one answer holds, and one at least; a first run to which
        nothing happened yet has no row."""
        job = await self.get(job_id, domain, full=full)
        full = full and not job.withheld
        if full and limit > 1:
            sizes = [row.payload_bytes + row.result_bytes for row in await answered(self._reads.runs(job_id, full=False, below=below, limit=limit))]
            limit = max(1, sum(size <= ANSWER_BYTES for size in accumulate(reversed(sizes))))
        rows = await answered(self._reads.runs(job_id, full=full, below=below, limit=limit))
        if job.masked:
            rows = await asyncio.to_thread(_masked_runs, rows, secrets(job.type))
        for index, row in enumerate(rows):
            payload, result = await self._bytes(job, row.payload), await self._bytes(job, row.result)
            if payload is not row.payload or result is not row.result:
                rows[index] = replace(row, payload=payload, result=result)
        return job, rows

    async def payloads(self, job_id: int, domain: str, *, version: int | None, below: int, limit: int) -> tuple[JobRead, list[PayloadRow]]:
        """The job and versions of its payload, newest first: the one that is named, with its bytes, or else those below one. Raises TypeDenied for the
        bytes of a job whose data the call may not see."""
        job = await self.get(job_id, domain)
        if version is not None:
            require(Act.VIEW_DATA, job.type)
        rows = await answered(self._reads.payloads(job_id, version=version, below=below, limit=limit))
        return job, [row if row.payload is None else replace(row, payload=await self._bytes(job, row.payload)) for row in rows]

    async def oldest(self, entry: TypeEntry, above: int, limit: int) -> tuple[list[JobRead], int]:
        """(the next jobs of a type above an id that are there, oldest first; the id to go on above, 0: there are no more)."""
        ids = await answered(self._reads.oldest(entry.type_id, above, limit))
        rows = await answered(self._reads.jobs(ids)) if ids else []
        jobs = await self._told([self._read(row, entry.domain) for row in rows if not self._gone(row)])
        return jobs, ids[-1] if len(ids) == limit else 0

    async def logs(self, job_id: int, domain: str, *, lease_epoch: int, min_level: int, after: tuple[int, int], limit: int) -> list[LogRow]:
        """Log lines, oldest first."""
        job = await self.get(job_id, domain)
        return await _lines(job, await answered(self._reads.logs(job_id, lease_epoch=lease_epoch, min_level=min_level, after=after, limit=limit)))

    async def last_logs(self, job: JobRead, *, lease_epoch: int, min_level: int, before: tuple[int, int], limit: int) -> list[LogRow]:
        """The newest lines before (lease epoch, line number), oldest first."""
        lines = await answered(self._reads.last_logs(job.row.job_id, lease_epoch=lease_epoch, min_level=min_level, before=before, limit=limit))
        return await _lines(job, lines)

    async def alerts(self, domain: str, *, below: int, limit: int) -> list[AlertRow]:
        """Alerts of a domain, newest first."""
        names = {entry.type_id: entry.name for entry in entries(self._owner, domain, Act.VIEW)}
        rows = await answered(self._reads.alerts(list(names), below=below, limit=limit))
        return await asyncio.to_thread(lambda: [replace(row, error=masked_error(row.error, secrets(names[row.type_id]))) for row in rows])

    def _visible(self, row: JobRow, domain: str) -> JobRead:
        entry = self._owner.types.by_id.get(row.type_id)
        if self._gone(row) or entry is None or entry.domain != domain or not types_for(Act.VIEW).allow(entry.name):
            raise JobNotFound(row.job_id)
        return self._read(row, domain)

    def _gone(self, row: JobRow) -> bool:
        expired = row.delete_minute is not None and row.state in SETTLED and row.delete_minute * 60 <= self._owner.clock.now_s()
        return row.state is State.GONE or expired

    def _read(self, row: JobRow, domain: str) -> JobRead:
        entry = self._owner.types.by_id[row.type_id]
        live = self._owner.live(row.job_id)
        boost = self._owner.lines.boosts.get((entry.domain_id, row.instance_id), 0) if row.instance_id is not None else 0
        score = entry.settings.priority + boost + row.priority
        withheld = not types_for(Act.VIEW_DATA).allow(entry.name)
        if withheld and (row.payload or row.result):
            row = replace(row, payload=None, result=None)
        secret = secrets(entry.name)
        if secret and self._masks and row.labels:
            row = replace(row, labels=masked_labels(row.labels, secret))
        return JobRead(row, domain, entry.name, score, self._wait_reason(row), live.progress if live is not None else None, withheld, bool(secret))

    async def _told(self, jobs: list[JobRead]) -> list[JobRead]:
        """The jobs as the call may see what is told of them in words, in a thread, since tracebacks are long; and what they are tied to, 0 for what is not to be seen."""
        unseen = await self.unseen(other for job in jobs for other in _ties(job.row))
        if unseen:
            jobs = [replace(job, row=_without(job.row, unseen)) for job in jobs]
        return await asyncio.to_thread(lambda: [_told(job, secrets(job.type)) for job in jobs]) if any(job.masked for job in jobs) else jobs

    async def _redacted(self, job: JobRead) -> JobRead:
        """The job as the call may see it, payload and result with it."""
        row = job.row
        payload, result = await self._bytes(job, row.payload), await self._bytes(job, row.result)
        return job if payload is row.payload and result is row.result else replace(job, row=replace(row, payload=payload, result=result))

    async def _bytes(self, job: JobRead, data: bytes | None) -> bytes | None:
        """A payload or result of the job as the call may see it: in a thread, since it may be large."""
        return await asyncio.to_thread(redacted, data, secrets(job.type)) if data and job.masked and self._masks else data

    def _wait_reason(self, row: JobRow) -> str | None:
        if row.state is not State.WAITING:
            return None
        if row.job_id in self._owner.graph.unmet:
            return "dependency"
        entry = self._owner.types.by_id[row.type_id]
        if row.available_at is not None and row.available_at.timestamp() > self._owner.clock.now_s():
            return "scheduled" if row.kind in (None, Kind.DEPENDENCIES_MET) or (row.kind is Kind.UPDATED and not row.lease_epoch) else "retry"
        if entry.halted:
            return "paused"
        if entry.breaker is not None and entry.breaker.room <= 0:
            return "breaker"
        serving = [session for session in self._owner.sessions() if session.stream is not None and entry.type_id in session.served and not session.paused]
        if not serving:
            return "no_agent"
        return _held_back_by(self._owner, entry, row, serving) or "ready"


def line_of(owner: Owner, entry: TypeEntry, row: JobRow) -> Line | None:
    """The line that a waiting job is in; None: it has no terms, and its instance no priority."""
    return owner.lines.members.get(row.job_id) or (owner.lines.find(entry, row.terms) if row.terms is not None else None)


def _held_back_by(owner: Owner, entry: TypeEntry, row: JobRow, serving: Sequence[Session]) -> str | None:
    """What limit keeps a ready job from its agents."""
    terms = row.terms
    if terms is not None and not any(terms.required <= session.label_items for session in serving):
        return "no_matching_agent"
    settings = entry.settings
    if settings.concurrency and owner.caps.running(owner, entry) >= settings.concurrency:
        return "capped"
    line = line_of(owner, entry, row)
    if line is not None and line.room <= 0:
        return "capped"
    return "rate_limited" if settings.rate_limit_count and owner.caps.tokens(entry, owner.now()) < 1 else None


BACK = frozenset({Kind.FAILED, Kind.TIMED_OUT, Kind.LOST, Kind.RELEASED, Kind.REJECTED, Kind.OWNER_CHANGED, Kind.ABORTED, Kind.COMPLETED})
"""Kinds that end an attempt."""


@dataclass(frozen=True, slots=True)
class AttemptRead:
    """One execution: its grant, how it ended (None: it runs), and evidence that came too late."""

    grant: EventRow
    ending: EventRow | None
    late_outcome: str
    payload_seq: int  # event that brought its payload; 0: the submission


def attempts(events: Sequence[EventRow]) -> list[AttemptRead]:
    """The attempts in a job's timeline, oldest first."""
    found = []
    versions = sorted(event.seq for event in events if event.kind is NoteKind.PAYLOAD)
    late = {event.seq: (event.data or b"").decode() for event in events if event.kind.name == "LATE_OUTCOME"}
    moves = {event.seq: event for event in events if isinstance(event.kind, Kind)}
    for seq, event in sorted(moves.items()):
        if event.kind is Kind.GRANTED:
            ending = moves.get(seq + 1)
            version = max((version for version in versions if version < seq), default=0)
            found.append(AttemptRead(event, ending if ending is not None and ending.kind in BACK else None, late.get(seq, ""), version))
    return found


async def answered(reading: Awaitable[T]) -> T:
    """What was read. Raises DatabaseUnavailable when Postgres does not answer."""
    try:
        return await reading
    except READ_FAILURES as error:
        raise DatabaseUnavailable(f"the database did not answer in time: {type(error).__name__}") from error


def in_one_answer(lines: list[LogRow], limit: int) -> tuple[list[LogRow], bool]:
    """(Those of the first lines that one answer holds, one at least; whether there may be more). `limit`: how many were asked for."""
    if 4 * sum(len(line.text) for line in lines) > ANSWER_BYTES:
        held = max(1, sum(size <= ANSWER_BYTES for size in accumulate(len(line.text.encode()) for line in lines)))
        if held < len(lines):
            return lines[:held], True
    return lines, len(lines) == limit


def _ties(row: JobRow) -> Iterator[int]:
    """The jobs that a job's submission names."""
    yield from row.depends_on or ()
    yield from (other for other in (row.parent_id, row.batch_id) if other)


def _without(row: JobRow, unseen: Container[int]) -> JobRow:
    """The row with 0 for each of these jobs that it names."""

    def shown(other: int | None) -> int | None:
        return 0 if other in unseen else other

    depends_on = row.depends_on and [0 if other in unseen else other for other in row.depends_on]
    return replace(row, depends_on=depends_on, parent_id=shown(row.parent_id), batch_id=shown(row.batch_id))


def _told(job: JobRead, secret: Sequence[str]) -> JobRead:
    row, progress = job.row, job.progress
    if row.error is not None or row.abort is not None:
        abort = row.abort and {**row.abort, "reason": masked_text(row.abort["reason"] or "", secret)}
        row = replace(row, error=masked_error(row.error, secret), abort=abort)
    return replace(job, row=row, progress=progress and (progress[0], masked_text(progress[1], secret)))


async def _lines(job: JobRead, lines: list[LogRow]) -> list[LogRow]:
    """Log lines of the job as the call may see them."""
    if not job.masked:
        return lines
    return await asyncio.to_thread(lambda: [replace(line, text=masked_text(line.text, secrets(job.type))) for line in lines])


def _masked_runs(rows: Sequence[RunRow], secret: Sequence[str]) -> list[RunRow]:
    return [replace(row, error=masked_error(row.error, secret), reason=masked_text(row.reason, secret)) for row in rows]


def _masked_events(events: Sequence[EventRow], secret: Sequence[str], *, labels: bool) -> list[EventRow]:
    told = [replace(event, error=masked_error(event.error, secret), reason=masked_text(event.reason, secret)) for event in events]
    return [_masked_event(event, secret) for event in told] if labels else told


def _masked_event(event: EventRow, secret: Sequence[str]) -> EventRow:
    """An event whose detail names no secret label."""
    if event.kind is not NoteKind.AMENDED or not event.data:
        return event
    values = json.loads(event.data)
    if "labels" not in values:
        return event
    return replace(event, data=json.dumps({**values, "labels": masked_labels(values["labels"], secret)}).encode())
